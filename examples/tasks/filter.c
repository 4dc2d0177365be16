/* A task that passes messages on, from all its inputs to all its outputs, and keeps books of them. */
#include "stream.h"

static int configure(occ_t* occ, void* user) {
    return stream_configure(user, occ, true, true);
}

static int start(occ_t* occ, void* user, uint32_t run) {
    (void)occ;
    return stream_start(user, run);
}

static int iterate_running(occ_t* occ, void* user) {
    struct stream* stream = user;
    stream_tell(stream);
    for (int turn = 0; turn < MESSAGES_A_TURN && !occ_pending(occ); turn++) {
        if (!stream_pass_on(stream)) {
            stream_wait(stream, false, true, 500, true);
            return 0;
        }
        if (!stream_receive(stream, &stream->held)) {
            stream_wait(stream, true, false, 500, true);
            return stream_fault(occ, "running");
        }
        stream->has_held = true;
        stream->held_next = 0;
    }
    return stream_fault(occ, "running");
}

static int stop(occ_t* occ, void* user) {
    int status = stream_fault(occ, "stop");
    return status != 0 ? status : stream_drain(user);
}

static int reset(occ_t* occ, void* user) {
    int status = stream_fault(occ, "reset");
    stream_close(user);
    return status;
}

int main(int argc, char** argv) {
    static struct stream stream;
    const struct occ_callbacks callbacks = {.configure = configure,
                                            .reset = reset,
                                            .recover = reset,
                                            .start = start,
                                            .stop = stop,
                                            .iterate_running = iterate_running};
    int status = stream_init(&stream, "filter", argc, argv);
    return status != 0 ? status : stream_main(&stream, &callbacks);
}
