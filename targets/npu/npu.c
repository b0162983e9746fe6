/* The target npu: models, their constants and the host into the folder of the artefact. */
#include "npu.h"

#include <stdio.h>
#include <string.h>

static bool
check(Arena *run, Diag *d, const Artefact *x)
{
	NpuFacts f;
	return npu_facts(d, x->graph, x->npu, &f) && npu_legal(run, d, x->graph, &f);
}

/* Positions that the rope tables have: the stateful model goes to the end of the context. */
static uint32_t
positions(const Graph *g)
{
	return g->model->n_ctx;
}

static void
write_models(Build *b, const NpuFacts *f, const NpuConstants *c)
{
	for (int i = 0; i < NPU_MODELS; i++) {
		Arena *own = arena_new();
		Text *t = text_new(own);
		net_print(t, npu_lower(own, b->x->graph, f, c, (NpuModel)i));
		artefact_text(b, npu_model_files[i], t);
		arena_free(own);
	}
}

static void
write_files(Build *b)
{
	static const char bin_name[] = "npu/openvino_model.bin";
	Arena *run = b->run;
	const Artefact *x = b->x;
	NpuFacts f;
	NpuConstants c;
	Text *config = text_new(run), *generation = text_new(run);
	if (!npu_facts(b->d, x->graph, x->npu, &f))
		BUG("npu: what was checked cannot be made");
	artefact_step(b, "npu models");
	artefact_folder(b, "npu");
	Bin *bin = bin_open(run, artefact_staged(b, bin_name));
	const char *identity = npu_identity(run, x);
	npu_stamp(bin, identity);
	if (!npu_constants(run, b->d, x->graph, &f, positions(x->graph), bin, b->o->jobs, &c))
		BUG("npu: weights that are finite elsewhere are not finite here");
	c.identity = identity;
	write_models(b, &f, &c);
	bin_close(bin, NULL);
	c.digest = npu_digest(artefact_staged(b, bin_name));
	artefact_add(b, bin_name);
	npu_config(config, generation, x->graph->model);
	artefact_text(b, "npu/config.json", config);
	artefact_text(b, "npu/generation_config.json", generation);
	npu_report(b->device_report, b->device_manifest, x->graph, &f, &c);
	npu_blobs(b, &f, b->device_report, b->device_manifest);
	artefact_text(b, arena_printf(run, "%s_npu.h", x->name), npu_host_header(run, x));
	artefact_text(b, arena_printf(run, "%s_npu.c", x->name), npu_host(run, x, &f, &c));
}

const Device npu_device = {
	.check = check,
	.list = npu_list,
	.machines = npu_machines,
	.write = write_files,
	.source = "_npu",
	.runner = "runner_npu.c",
	.name = "npu",
};
