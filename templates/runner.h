/*
 * The program @NAME@: a front end of the library @NAME@.h with no other dependency than POSIX and
 * libm. This file is the concatenation of the runner templates, in the order
 *   runner.h runner_golden.h (tables of golden vectors) runner_io.c runner_json.c runner_threads.c
 *   runner_sample.c runner_options.c runner_device.c (a file a device, table devices[])
 *   runner_model.c runner_generate.c runner_chat.c runner_perplexity.c runner_read.c runner_bench.c
 *   runner_selftest.c runner_commands.c runner_main.c
 *
 * Exit codes: 0 success; 1 the arguments or the files' contents are wrong; 2 the machine is (a file
 * cannot be read or written, no memory, no such CPU feature or device); 70 a bug of ours; 130
 * interrupted.
 */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE
#endif
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include "@NAME@.h"
#include "@NAME@_tokenizer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#endif

#define PROGRAM "@NAME@"

enum {
	STATUS_OK = 0,
	STATUS_USER = 1,
	STATUS_ENVIRONMENT = 2,
	STATUS_BUG = 70,
	STATUS_INTERRUPTED = 130
};
enum { N_VOCAB = @name@_N_VOCAB, N_CTX = @name@_N_CTX, MAX_THREADS = 256, MAX_STOPS = 16 };

#if defined(__GNUC__)
#define RUNNER_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define RUNNER_NORETURN __attribute__((noreturn))
#else
#define RUNNER_PRINTF(f, a)
#define RUNNER_NORETURN
#endif
