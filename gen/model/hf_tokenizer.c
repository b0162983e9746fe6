#include "hf.h"

bool
hf_tokenizer(HfReader *r)
{
	Tokenizer *t = &r->m->tokenizer;
	t->bos = t->eos = t->unk = t->pad = -1;
	t->loc = r->m->loc;
	return true;
}
