/* What the command line says of formats, applied to a graph before the passes. */
#ifndef LATHE_GEN_SETTINGS_H
#define LATHE_GEN_SETTINGS_H

#include "gen/options.h"
#include "ir/graph.h"

/* The options of every command that builds a graph; null or empty: the default. */
typedef struct Settings {
	const char *activations; /* "8:32", "4:token:real", "16", "f32"; default 16 */
	const char *tied;	 /* "cheaper", "twice", "online"; default cheaper */
	const char *kv;		 /* "f16", "f32", "8", "4"; default f16 */
	StringList quantize;	 /* "PATTERN=bits:4,group:64"; where two match, the later counts */
} Settings;

/* Rows for a command's option table; S is the offset of its Settings. */
#define SETTINGS_OPTIONS(S)                                                                       \
	{"--activations", "FORMAT", OPTION_STRING, (S) + offsetof(Settings, activations),         \
	 "f32, or 4|6|8|16[:token|GROUP][:integer|real] (default: 16): rows of integer weights, " \
	 "a scale a token or group, zero points"},                                                \
		{"--kv", "FORMAT", OPTION_STRING, (S) + offsetof(Settings, kv),                   \
		 "f16 (default), f32, 8 or 4: keys and values"},                                  \
		{"--tied", "HOW", OPTION_STRING, (S) + offsetof(Settings, tied),                  \
		 "cheaper (default), twice or online: one table of embedding and head, where a "  \
		 "plan transforms them apart"},                                                   \
	{                                                                                         \
		"--quantize", "RULE", OPTION_LIST, (S) + offsetof(Settings, quantize),            \
			"PATTERN=bits:2..8[,group:N|row][,scale:f16|f32]: round tensors to "      \
			"nearest"                                                                 \
	}

/*
 * Sets the formats of g. Patterns name tensors as plans do: `layers.3.q`, `layers.*.{gate,up}`,
 * `{embed,head}`; `*` stands for one part. Vectors keep f32. A pattern that is malformed or matches
 * nothing is an error; false after diagnostics.
 */
bool settings_apply(const Settings *s, Diag *d, Graph *g);

#endif
