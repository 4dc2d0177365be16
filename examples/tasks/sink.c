/* A task that takes messages from all its inputs and keeps books of them. */
#include "stream.h"

static int configure(occ_t* occ, void* user) {
    return stream_configure(user, occ, true, false);
}

static int start(occ_t* occ, void* user, uint32_t run) {
    (void)occ;
    return stream_start(user, run);
}

static int iterate_running(occ_t* occ, void* user) {
    struct stream* stream = user;
    zmq_msg_t message;
    stream_tell(stream);
    for (int turn = 0; turn < MESSAGES_A_TURN && !occ_pending(occ); turn++) {
        if (!stream_receive(stream, &message)) {
            stream_wait(stream, true, false, 500, true);
            break;
        }
        zmq_msg_close(&message);
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
    int status = stream_init(&stream, "sink", argc, argv);
    return status != 0 ? status : stream_main(&stream, &callbacks);
}
