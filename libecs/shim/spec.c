#include "spec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "notes.h"

enum { MAX_SPEC_BYTES = 16 * 1024 * 1024 };

static char* read_spec_file(int folder, size_t* size) {
    struct stat status;
    int fd = openat(folder, "spec.bin", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0)
        fail(folder, 126, "cannot read spec.bin: %s", strerror(errno));
    if (status.st_size < 1 || status.st_size > MAX_SPEC_BYTES)
        fail(folder, 126, "spec.bin has %lld bytes", (long long)status.st_size);
    *size = (size_t)status.st_size;
    char* text = malloc(*size);
    if (text == NULL)
        fail(folder, 126, "no memory for spec.bin");
    for (size_t used = 0; used < *size;) {
        ssize_t n = read(fd, text + used, *size - used);
        if (n <= 0)
            fail(folder, 126, "cannot read spec.bin: %s", n < 0 ? strerror(errno) : "it became shorter");
        used += (size_t)n;
    }
    close(fd);
    if (text[*size - 1] != '\0')
        fail(folder, 126, "spec.bin does not end with NUL");
    return text;
}

static double read_seconds(int folder, const char* key, const char* text) {
    char* end;
    double seconds = strtod(text, &end);
    if (end == text || *end != '\0' || !(seconds >= -1 && seconds < 1e9))
        fail(folder, 126, "spec.bin: %s=%s is no number of seconds", key, text);
    return seconds;
}

static uint64_t read_bytes(int folder, const char* key, const char* text) {
    char* end;
    errno = 0;
    unsigned long long bytes = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0)
        fail(folder, 126, "spec.bin: %s=%s is no number of bytes", key, text);
    return bytes;
}

static bool read_limit_value(const char** text, rlim_t* value) {
    static const char unlimited[] = "unlimited";
    if (strncmp(*text, unlimited, sizeof unlimited - 1) == 0) {
        *text += sizeof unlimited - 1;
        *value = RLIM_INFINITY;
        return true;
    }
    char* end;
    *value = strtoull(*text, &end, 10);
    bool is_number = end != *text && **text >= '0' && **text <= '9';
    *text = end;
    return is_number;
}

static void read_limit(int folder, struct spec* spec, const char* text) {
    static const struct {
        const char* name;
        int resource;
    } known[] = {{"as", RLIMIT_AS},         {"core", RLIMIT_CORE},   {"cpu", RLIMIT_CPU},
                 {"data", RLIMIT_DATA},     {"fsize", RLIMIT_FSIZE}, {"memlock", RLIMIT_MEMLOCK},
                 {"nofile", RLIMIT_NOFILE}, {"nproc", RLIMIT_NPROC}, {"rss", RLIMIT_RSS},
                 {"stack", RLIMIT_STACK}};
    const char* at = strchr(text, ':');
    for (size_t i = 0; at != NULL && i < sizeof known / sizeof *known; i++) {
        size_t length = (size_t)(at - text);
        if (strlen(known[i].name) != length || strncmp(known[i].name, text, length) != 0)
            continue;
        struct limit* limit = &spec->limits[spec->n_limits];
        limit->resource = known[i].resource;
        at++;
        if (spec->n_limits < MAX_LIMITS && read_limit_value(&at, &limit->values.rlim_cur) && *at++ == ':' &&
            read_limit_value(&at, &limit->values.rlim_max) && *at == '\0') {
            spec->n_limits++;
            return;
        }
        break;
    }
    fail(folder, 126, "spec.bin: rlimit=%s is no NAME:SOFT:HARD", text);
}

static void read_entry(int folder, struct spec* spec, const char* key, char* value, size_t* n_args, size_t* n_env) {
    if (strcmp(key, "arg") == 0)
        spec->arguments[(*n_args)++] = value;
    else if (strcmp(key, "env") == 0)
        spec->environment[(*n_env)++] = value;
    else if (strcmp(key, "cwd") == 0)
        spec->cwd = value;
    else if (strcmp(key, "user") == 0)
        spec->user = value;
    else if (strcmp(key, "group") == 0 && spec->n_group_names < MAX_GROUPS)
        spec->group_names[spec->n_group_names++] = value;
    else if (strcmp(key, "stdout") == 0)
        spec->outputs[0].path = value;
    else if (strcmp(key, "stderr") == 0)
        spec->outputs[1].path = value;
    else if (strcmp(key, "stdout_cap") == 0)
        spec->outputs[0].cap = read_bytes(folder, key, value);
    else if (strcmp(key, "stderr_cap") == 0)
        spec->outputs[1].cap = read_bytes(folder, key, value);
    else if (strcmp(key, "cgroup") == 0)
        spec->cgroup = value;
    else if (strcmp(key, "rlimit") == 0)
        read_limit(folder, spec, value);
    else if (strcmp(key, "term_s") == 0)
        spec->term_s = read_seconds(folder, key, value);
    else if (strcmp(key, "int_s") == 0)
        spec->int_s = read_seconds(folder, key, value);
    else if (strcmp(key, "orphan_s") == 0)
        spec->orphan_s = read_seconds(folder, key, value);
    else
        fail(folder, 126, "spec.bin: unknown or too frequent key %s", key);
}

void read_spec(int folder, struct spec* spec) {
    size_t size, n_entries = 0, n_args = 0, n_env = 0;
    char* text = read_spec_file(folder, &size);
    for (size_t i = 0; i < size; i++)
        n_entries += text[i] == '\0';
    *spec = (struct spec){.cwd = "/", .term_s = 2, .int_s = 3, .orphan_s = -1};
    spec->outputs[0].path = spec->outputs[1].path = "/dev/null";
    spec->arguments = calloc(n_entries + 1, sizeof *spec->arguments);
    spec->environment = calloc(n_entries + 1, sizeof *spec->environment);
    if (spec->arguments == NULL || spec->environment == NULL)
        fail(folder, 126, "no memory for spec.bin");
    if (strcmp(text, "ecs-shim=1") != 0)
        fail(folder, 126, "spec.bin is not of version 1");
    for (char* entry = text + strlen(text) + 1; entry < text + size; entry += strlen(entry) + 1) {
        char* value = strchr(entry, '=');
        if (value == NULL)
            fail(folder, 126, "spec.bin: %s is no key=value", entry);
        *value++ = '\0';
        read_entry(folder, spec, entry, value, &n_args, &n_env);
        entry = value; /* strlen(entry) above then counts to the end of this entry */
    }
    if (n_args == 0)
        fail(folder, 126, "spec.bin names no program");
}
