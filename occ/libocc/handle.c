/* A handle is made, and ends: its endpoint, its descriptors, its link. */
#include "handle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static int choose_endpoint(char* endpoint, const char* wanted) {
    int written = 0;
    const char* port = getenv("OCC_CONTROL_PORT");
    if (wanted == NULL)
        wanted = getenv("OCC_CONTROL_ENDPOINT");
    if (wanted != NULL && wanted[0] != '\0') {
        if (strncmp(wanted, "ipc://", 6) != 0 && strncmp(wanted, "tcp://", 6) != 0)
            return OCC_E_ENDPOINT;
        written = snprintf(endpoint, ENDPOINT_BYTES, "%s", wanted);
    } else if (port != NULL && port[0] != '\0') {
        char* end;
        long number = strtol(port, &end, 10);
        if (*end != '\0' || number < 1 || number > 65535)
            return OCC_E_ENDPOINT;
        written = snprintf(endpoint, ENDPOINT_BYTES, "tcp://127.0.0.1:%ld", number);
    } else
        return OCC_E_ENDPOINT;
    return written < ENDPOINT_BYTES ? 0 : OCC_E_ENDPOINT;
}

/* Say it when others can reach the endpoint: whoever does may command the task. */
static void warn_of_others(const char* endpoint) {
    static const char* const local[] = {"ipc://", "tcp://127.", "tcp://localhost:", "tcp://[::1]:", "tcp://lo:"};
    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        if (strncmp(endpoint, local[i], strlen(local[i])) == 0)
            return;
    fprintf(stderr,
            "occ: %s can be reached from other machines, and the control link has no keys yet: whoever reaches it can "
            "command this task\n",
            endpoint);
}

static int open_all(occ_t* occ) {
    occ->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    occ->link_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (occ->wake_fd < 0 || occ->link_fd < 0)
        return OCC_E_SYSTEM;
    occ->telemetry.link_fd = occ->link_fd;
    int error = occ_link_open(occ);
    if (error == 0)
        warn_of_others(occ->endpoint);
    return error;
}

int occ_create_at(occ_t** handle, const struct occ_callbacks* callbacks, void* user, const char* endpoint) {
    if (handle == NULL)
        return OCC_E_ARGUMENT;
    *handle = NULL;
    if (callbacks == NULL)
        return OCC_E_ARGUMENT;
    occ_t* occ = calloc(1, sizeof *occ);
    if (occ == NULL)
        return OCC_E_MEMORY;
    occ->callbacks = *callbacks;
    occ->user = user;
    occ->state = OCC_STATE_STANDBY;
    occ->wake_fd = occ->link_fd = -1;
    pthread_mutex_init(&occ->lock, NULL);
    pthread_cond_init(&occ->room, NULL);
    occ_telemetry_open(&occ->telemetry, -1);
    int error = choose_endpoint(occ->endpoint, endpoint);
    if (error == 0)
        error = open_all(occ);
    if (error != 0) {
        int saved = errno;
        occ_destroy(occ);
        errno = saved;
        return error;
    }
    *handle = occ;
    return 0;
}

int occ_create(occ_t** handle, const struct occ_callbacks* callbacks, void* user) {
    return occ_create_at(handle, callbacks, user, NULL);
}

void occ_destroy(occ_t* occ) {
    if (occ == NULL)
        return;
    occ_link_close(occ);
    if (occ->command.busy)
        zmq_msg_close(&occ->command.frame);
    for (int i = 0; i < LAYERS; i++)
        free(occ->layers[i]);
    if (occ->wake_fd >= 0)
        close(occ->wake_fd);
    if (occ->link_fd >= 0)
        close(occ->link_fd);
    occ_telemetry_close(&occ->telemetry);
    pthread_cond_destroy(&occ->room);
    pthread_mutex_destroy(&occ->lock);
    free(occ);
}
