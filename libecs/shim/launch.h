/* Making the task's process: its user, outputs, limits and control group, then its program. */
#ifndef ECS_SHIM_LAUNCH_H
#define ECS_SHIM_LAUNCH_H

#include <sys/types.h>

#include "spec.h"

/* Find who the task becomes; fills in uid, gid and groups. What is unknown or not allowed ends the program by `fail`. */
void find_user(int folder, struct spec* spec);

/* Open the files that take what the task writes, and give those in the folder to its user. */
void open_outputs(int folder, struct spec* spec);

/* Run the program; returns its pid. What goes wrong ends the shim by `fail`. */
pid_t launch(int folder, const struct spec* spec);

#endif
