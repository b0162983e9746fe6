/* `lathe inspect FILE`: what a model file holds and what Lathe makes of it. */
#ifndef LATHE_GEN_INSPECT_H
#define LATHE_GEN_INSPECT_H

/* argv[0] is "inspect". Returns the exit status. */
int inspect_main(int argc, char **argv);

#endif
