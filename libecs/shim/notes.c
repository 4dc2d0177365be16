#include "notes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int64_t now_ms(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void write_all(int fd, const char* text, size_t size) {
    while (size > 0) {
        ssize_t written = write(fd, text, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return;
        text += written;
        size -= (size_t)written;
    }
}

int write_file(int folder, const char* name, const char* text) {
    char temporary[32];
    snprintf(temporary, sizeof temporary, "%s.tmp", name);
    int fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return -1;
    write_all(fd, text, strlen(text));
    close(fd);
    return renameat(folder, temporary, folder, name);
}

/* Copy text so that it can stand between quotes in JSON; anything but printable ASCII becomes '?'. */
static const char* json_text(char* to, size_t size, const char* text) {
    size_t used = 0;
    for (; *text != '\0' && used + 2 < size; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            to[used++] = '\\';
        to[used++] = c >= 0x20 && c < 0x7f ? (char)c : '?';
    }
    to[used] = '\0';
    return to;
}

int write_exit(int folder, int code, int signal, const char* by, const char* cause, long max_rss_kb) {
    char text[1024], safe[768], code_text[16] = "null", signal_text[16] = "null";
    if (code >= 0)
        snprintf(code_text, sizeof code_text, "%d", code);
    if (signal > 0)
        snprintf(signal_text, sizeof signal_text, "%d", signal);
    snprintf(
        text, sizeof text,
        "{\"code\": %s, \"signal\": %s, \"cause\": \"%s\", \"by\": \"%s\", \"at_ms\": %lld, \"max_rss_kb\": %ld}\n",
        code_text, signal_text, json_text(safe, sizeof safe, cause), by, (long long)now_ms(CLOCK_REALTIME), max_rss_kb);
    return write_file(folder, "exit.json", text);
}

_Noreturn void fail(int folder, int code, const char* format, ...) {
    char cause[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(cause, sizeof cause, format, arguments);
    va_end(arguments);
    if (folder < 0 || write_exit(folder, code, 0, "launch", cause, 0) != 0) {
        fprintf(stderr, "ecs-shim: %s\n", cause);
        exit(1);
    }
    exit(0);
}
