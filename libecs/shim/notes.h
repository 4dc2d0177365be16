/* What the shim leaves in its folder: each file is written by rename, so that who sees one sees all of it. */
#ifndef ECS_SHIM_NOTES_H
#define ECS_SHIM_NOTES_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

int64_t now_ms(clockid_t clock);

/* Write as much as goes; SIGPIPE is ignored by whoever calls. */
void write_all(int fd, const char* text, size_t size);

/* Returns -1, with errno, if it can't be written. */
int write_file(int folder, const char* name, const char* text);

/* Write exit.json. A code below 0, and a signal of 0, is null there. */
int write_exit(int folder, int code, int signal, const char* by, const char* cause, long max_rss_kb);

/* There will be no task: leave a note, and end. */
_Noreturn void fail(int folder, int code, const char* format, ...) __attribute__((format(printf, 3, 4)));

#endif
