/* A task that makes messages and sends them by all the channels that CONFIGURE gives it.
 *
 * Properties (or options with -- in front): rate in messages a second (0: as fast as it goes), payload in bytes, count
 * (end the stream after so many), report_dir, role_path; see stream.h. */
#include "stream.h"

struct source {
    struct stream stream; /* first, so that the shared functions find it */
    uint64_t sent;
};

static int configure(occ_t* occ, void* user) {
    return stream_configure(user, occ, false, true);
}

static int start(occ_t* occ, void* user, uint32_t run) {
    struct source* source = user;
    (void)occ;
    source->sent = 0;
    int status = stream_start(&source->stream, run);
    stream_account(&source->stream, source->stream.source, strlen(source->stream.source));
    return status;
}

/* Make the next message and hold it, to be passed on to every output. */
static int make_message(struct source* source) {
    struct stream* stream = &source->stream;
    size_t payload_bytes = (size_t)stream->payload_bytes;
    if (zmq_msg_init_size(&stream->held, HEADER_BYTES + payload_bytes) != 0)
        return occ_fail(stream->occ, "no memory for a message of %zu bytes", payload_bytes);
    struct header header = stream_header(stream, MESSAGE_DATA);
    header.sequence = source->sent;
    uint8_t* payload = (uint8_t*)zmq_msg_data(&stream->held) + HEADER_BYTES;
    memcpy(payload - HEADER_BYTES, &header, HEADER_BYTES);
    memset(payload, (int)(source->sent & 0xff), payload_bytes);
    stream_count(stream, &stream->accounts[0], source->sent, payload, payload_bytes);
    stream->has_held = true;
    stream->held_next = 0;
    source->sent++;
    return 0;
}

static int iterate_running(occ_t* occ, void* user) {
    struct source* source = user;
    struct stream* stream = &source->stream;
    int status = stream_fault(occ, "running");
    stream_tell(stream);
    for (int turn = 0; status == 0 && turn < MESSAGES_A_TURN && !occ_pending(occ); turn++) {
        if (!stream_pass_on(stream)) {
            stream_wait(stream, false, true, 100, true);
            return 0;
        }
        if (stream->limit > 0 && source->sent >= (uint64_t)stream->limit)
            return OCC_END_OF_STREAM;
        if (stream->rate_hz > 0) {
            int64_t due_ns = stream->started_ns + (int64_t)((double)source->sent / stream->rate_hz * 1e9);
            int64_t ahead_ns = due_ns - stream_now_ns();
            if (ahead_ns > 0) {
                int64_t ahead_ms = ahead_ns / 1000000 + 1;
                occ_wait(occ, NULL, 0, ahead_ms < 500 ? (int)ahead_ms : 500);
                return 0;
            }
        }
        status = make_message(source);
    }
    return status;
}

static int stop(occ_t* occ, void* user) {
    struct source* source = user;
    struct stream* stream = &source->stream;
    int status = stream_fault(occ, "stop");
    if (status != 0)
        return status;
    int64_t deadline_ns = stream_now_ns() + stream->drain_ms * 1000000;
    bool sent;
    while (!(sent = stream_pass_on_to_the_living(stream)) && stream_now_ns() < deadline_ns)
        stream_wait(stream, false, true, 20, false);
    struct account* account = &stream->accounts[0];
    account->has_end = true;
    account->announced = account->count;
    account->announced_hash = account->hash;
    struct header end = stream_header(stream, MESSAGE_END);
    end.sequence = account->count;
    end.hash = account->hash;
    struct header peer_end = stream_header(stream, MESSAGE_PEER_END);
    sent = sent && stream_send_end(stream, &end, deadline_ns) && stream_send_end(stream, &peer_end, deadline_ns);
    return stream_report(stream, sent && !stream->lost);
}

/* Rate, payload and count may change between two runs, without a RESET. */
static int reconfigure(occ_t* occ, void* user) {
    return stream_options(user, occ);
}

static int reset(occ_t* occ, void* user) {
    int status = stream_fault(occ, "reset");
    stream_close(user);
    return status;
}

int main(int argc, char** argv) {
    static struct source source;
    const struct occ_callbacks callbacks = {.configure = configure,
                                            .reset = reset,
                                            .recover = reset,
                                            .start = start,
                                            .stop = stop,
                                            .reconfigure = reconfigure,
                                            .iterate_running = iterate_running};
    int status = stream_init(&source.stream, "source", argc, argv);
    return status != 0 ? status : stream_main(&source.stream, &callbacks);
}
