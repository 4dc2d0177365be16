/* What the example tasks share: channels opened as CONFIGURE says, messages that carry run, source and sequence, and
 * the account of them that is written at STOP. A copy of it in Python is occ/stream.py; both speak the same bytes.
 *
 * How a run ends without loss. All tasks get STOP at the same time, so messages are still on their way. A source then
 * sends END (how many there were, and their hash) and PEER_END; a filter passes on what comes until it has PEER_END of
 * this run from every peer connected to its inputs, and sends its own PEER_END; a sink waits likewise. The number of
 * peers is known from the sockets' monitors, so that no task is told how many there are; waiting is bounded by the
 * property drain_ms. Where several peers pull from one push socket, each gets a share of the data: they all learn of
 * the end, but no account of theirs is complete. Messages of another run are counted as foreign and dropped. */
#ifndef STREAM_H
#define STREAM_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include "occ/occ.h"

enum { MAX_CHANNELS = 16, MAX_SOURCES = 64, SOURCE_BYTES = 104, HEADER_BYTES = 128, MESSAGES_A_TURN = 256 };
enum message_kind { MESSAGE_DATA = 0, MESSAGE_END = 1, MESSAGE_PEER_END = 2 };

/* In front of each payload; little-endian. */
struct header {
    char magic[4]; /* "ECSM" */
    uint8_t version;
    uint8_t kind;
    uint16_t source_size;
    uint32_t run;
    uint32_t hash;     /* of END: over all messages */
    uint64_t sequence; /* of END: how many messages there were */
    char source[SOURCE_BYTES];
};
_Static_assert(sizeof(struct header) == HEADER_BYTES, "the header has no holes");

struct channel {
    char name[64];
    void* socket;
    void* monitor;
    bool is_input;
    int peers; /* connected now */
    bool had_peers;
    int ended; /* PEER_ENDs of this run */
};

/* Account of the messages of one source in this run. */
struct account {
    char source[SOURCE_BYTES + 1];
    uint64_t count, next, gaps, repeated, announced;
    uint32_t hash, announced_hash;
    bool has_end;
};

struct stream {
    occ_t* occ;
    const char* role;
    char name[512];
    char source[SOURCE_BYTES + 1]; /* the name as messages carry it */
    char report_dir[4096];
    double rate_hz; /* of a source; 0: as fast as it goes */
    int64_t payload_bytes, limit, drain_ms;
    void* context;
    struct channel channels[MAX_CHANNELS];
    int n_channels;
    uint32_t run;
    uint64_t foreign;
    struct account accounts[MAX_SOURCES];
    int n_accounts;
    int64_t started_ns;
    uint32_t crc_table[256];
    zmq_msg_t held; /* by a filter: received, not yet passed on to channels[held_next] and behind */
    bool has_held;
    int held_next;
    bool lost; /* a message of this run was for somebody who is gone */
    int64_t untold_events, untold_bytes, rated_events, rated_ns; /* see stream_tell */
};

static inline int64_t stream_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* --- hash: CRC-32 as in zlib --------------------------------------------------------------------------------- */

static inline void stream_make_crc_table(struct stream* stream) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? 0xedb88320u ^ crc >> 1 : crc >> 1;
        stream->crc_table[i] = crc;
    }
}

static inline uint32_t stream_crc(const struct stream* stream, uint32_t crc, const void* data, size_t size) {
    const uint8_t* bytes = data;
    crc = ~crc;
    for (size_t i = 0; i < size; i++)
        crc = stream->crc_table[(crc ^ bytes[i]) & 0xff] ^ crc >> 8;
    return ~crc;
}

/* --- set-up -------------------------------------------------------------------------------------------------- */

/* Read the command line; what it says can be overruled by properties. Returns 0, or 2 with a text on stderr. */
static inline int stream_init(struct stream* stream, const char* role, int argc, char** argv) {
    const char* task = getenv("ECS_TASK_ID");
    const char* folder = getenv("ECS_REPORT_DIR");
    *stream = (struct stream){.role = role, .rate_hz = 1000, .payload_bytes = 256, .drain_ms = 5000};
    stream_make_crc_table(stream);
    if (task != NULL && strrchr(task, '/') != NULL)
        task = strrchr(task, '/') + 1;
    snprintf(stream->name, sizeof stream->name, "%s", task != NULL && task[0] != '\0' ? task : role);
    snprintf(stream->report_dir, sizeof stream->report_dir, "%s", folder != NULL ? folder : "");
    for (int i = 1; i < argc; i += 2) {
        const char* value = i + 1 < argc ? argv[i + 1] : NULL;
        if (value == NULL) {
            fprintf(stderr, "%s: %s needs a value\n", role, argv[i]);
            return 2;
        }
        if (strcmp(argv[i], "--name") == 0)
            snprintf(stream->name, sizeof stream->name, "%s", value);
        else if (strcmp(argv[i], "--report-dir") == 0)
            snprintf(stream->report_dir, sizeof stream->report_dir, "%s", value);
        else if (strcmp(argv[i], "--rate") == 0)
            stream->rate_hz = strtod(value, NULL);
        else if (strcmp(argv[i], "--payload") == 0)
            stream->payload_bytes = strtoll(value, NULL, 10);
        else if (strcmp(argv[i], "--count") == 0)
            stream->limit = strtoll(value, NULL, 10);
        else {
            fprintf(stderr, "%s: unknown option %s (there are --name --report-dir --rate --payload --count)\n", role,
                    argv[i]);
            return 2;
        }
    }
    return 0;
}

/* Faults on order, for tests: the property fail, hang or crash names a moment: configure, start, running, ... */
static inline int stream_fault(occ_t* occ, const char* moment) {
    if (strcmp(occ_property(occ, "fail", ""), moment) == 0)
        return occ_fail(occ, "told to fail in %s", moment);
    if (strcmp(occ_property(occ, "crash", ""), moment) == 0)
        abort();
    while (strcmp(occ_property(occ, "hang", ""), moment) == 0)
        pause();
    return 0;
}

static inline const char* stream_channel_property(occ_t* occ, const char* channel, const char* key,
                                                  const char* fallback) {
    char name[256];
    snprintf(name, sizeof name, "chans.%s.0.%s", channel, key);
    return occ_property(occ, name, fallback);
}

static inline int stream_open_channel(struct stream* stream, const char* name) {
    static const struct {
        const char* name;
        int type;
        bool is_input;
    } types[] = {{"push", ZMQ_PUSH, false}, {"pull", ZMQ_PULL, true}, {"pub", ZMQ_PUB, false}, {"sub", ZMQ_SUB, true}};
    occ_t* occ = stream->occ;
    const char* type = stream_channel_property(occ, name, "type", "");
    const char* method = stream_channel_property(occ, name, "method", "");
    const char* address = stream_channel_property(occ, name, "address", "");
    int send_limit = atoi(stream_channel_property(occ, name, "sndBufSize", "1000"));
    int receive_limit = atoi(stream_channel_property(occ, name, "rcvBufSize", "1000"));
    int reconnect_ms = 10, linger_ms = 0;
    size_t which = 0;
    while (which < 4 && strcmp(type, types[which].name) != 0)
        which++;
    if (which == 4)
        return occ_fail(occ, "channel %s: type '%s' is none of push, pull, pub, sub", name, type);
    if (strcmp(method, "bind") != 0 && strcmp(method, "connect") != 0)
        return occ_fail(occ, "channel %s: method '%s' is neither bind nor connect", name, method);
    if (stream->n_channels == MAX_CHANNELS)
        return occ_fail(occ, "more than %d channels", MAX_CHANNELS);

    struct channel* channel = &stream->channels[stream->n_channels++];
    *channel = (struct channel){.socket = zmq_socket(stream->context, types[which].type),
                                .monitor = zmq_socket(stream->context, ZMQ_PAIR),
                                .is_input = types[which].is_input};
    if (channel->socket == NULL || channel->monitor == NULL)
        return occ_fail(occ, "channel %s: %s", name, zmq_strerror(errno));
    snprintf(channel->name, sizeof channel->name, "%s", name);
    zmq_setsockopt(channel->socket, ZMQ_SNDHWM, &send_limit, sizeof send_limit);
    zmq_setsockopt(channel->socket, ZMQ_RCVHWM, &receive_limit, sizeof receive_limit);
    zmq_setsockopt(channel->socket, ZMQ_RECONNECT_IVL, &reconnect_ms, sizeof reconnect_ms);
    zmq_setsockopt(channel->socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    if (types[which].type == ZMQ_SUB)
        zmq_setsockopt(channel->socket, ZMQ_SUBSCRIBE, "", 0);
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "inproc://monitor-%d", stream->n_channels);
    zmq_socket_monitor(channel->socket, endpoint, ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED);
    zmq_connect(channel->monitor, endpoint);
    /* FairMQ's shared memory is spoken over ipc here: the address is what counts. */
    int status =
        strcmp(method, "bind") == 0 ? zmq_bind(channel->socket, address) : zmq_connect(channel->socket, address);
    if (status != 0)
        return occ_fail(occ, "channel %s: cannot %s %s: %s", name, method, address, zmq_strerror(errno));
    return 0;
}

/* Read the properties that are not channels. */
static inline int stream_options(struct stream* stream, occ_t* occ) {
    snprintf(stream->name, sizeof stream->name, "%s", occ_property(occ, "role_path", strdupa(stream->name)));
    snprintf(stream->report_dir, sizeof stream->report_dir, "%s",
             occ_property(occ, "report_dir", strdupa(stream->report_dir)));
    if (occ_property_float(occ, "rate", &stream->rate_hz) == OCC_E_VALUE ||
        occ_property_int(occ, "payload", &stream->payload_bytes) == OCC_E_VALUE ||
        occ_property_int(occ, "count", &stream->limit) == OCC_E_VALUE ||
        occ_property_int(occ, "drain_ms", &stream->drain_ms) == OCC_E_VALUE)
        return occ_fail(occ, "rate, payload, count and drain_ms are numbers");
    if (stream->rate_hz < 0 || stream->payload_bytes < 0 || stream->payload_bytes > 64 * 1024 * 1024)
        return occ_fail(occ, "rate is at least 0, payload between 0 and 64 MiB");
    return 0;
}

/* Open all channels that the properties name. Inputs and outputs that the role has no use for are an error. */
static inline int stream_configure(struct stream* stream, occ_t* occ, bool wants_inputs, bool wants_outputs) {
    size_t cursor = 0;
    const char *key, *value;
    int inputs = 0, outputs = 0;
    stream->occ = occ;
    int status = stream_fault(occ, "configure");
    if (status != 0)
        return status;
    status = stream_options(stream, occ);
    if (status != 0)
        return status;
    size_t length = strlen(stream->name);
    if (length <= SOURCE_BYTES)
        memcpy(stream->source, stream->name, length + 1);
    else /* the end of a role path tells more than its beginning; the hash tells tasks of the same end apart */
        snprintf(stream->source, sizeof stream->source, "%08x:%s", stream_crc(stream, 0, stream->name, length),
                 stream->name + length - (SOURCE_BYTES - 9));
    stream->context = zmq_ctx_new();
    if (stream->context == NULL)
        return occ_fail(occ, "%s", zmq_strerror(errno));
    while (occ_property_next(occ, &cursor, &key, &value) == 0) {
        char name[64];
        size_t size = strlen(key);
        static const char first[] = "chans.", last[] = ".0.address";
        if (size <= strlen(first) + strlen(last) || strncmp(key, first, strlen(first)) != 0 ||
            strcmp(key + size - strlen(last), last) != 0)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(size - strlen(first) - strlen(last)), key + strlen(first));
        status = stream_open_channel(stream, name);
        if (status != 0)
            return status;
        if (stream->channels[stream->n_channels - 1].is_input)
            inputs++;
        else
            outputs++;
    }
    if ((inputs > 0) != wants_inputs || (outputs > 0) != wants_outputs)
        return occ_fail(occ, "a %s was given %d channels to receive and %d to send by", stream->role, inputs, outputs);
    return 0;
}

static inline void stream_close(struct stream* stream) {
    if (stream->has_held)
        zmq_msg_close(&stream->held);
    stream->has_held = false;
    for (int i = 0; i < stream->n_channels; i++) {
        if (stream->channels[i].socket != NULL) {
            zmq_socket_monitor(stream->channels[i].socket, NULL, 0);
            zmq_close(stream->channels[i].socket);
        }
        if (stream->channels[i].monitor != NULL)
            zmq_close(stream->channels[i].monitor);
    }
    stream->n_channels = 0;
    if (stream->context != NULL)
        zmq_ctx_term(stream->context);
    stream->context = NULL;
}

static inline int stream_start(struct stream* stream, uint32_t run) {
    stream->run = run;
    stream->foreign = 0;
    stream->lost = false;
    stream->n_accounts = 0;
    stream->started_ns = stream->rated_ns = stream_now_ns();
    stream->untold_events = stream->untold_bytes = stream->rated_events = 0;
    for (int i = 0; i < stream->n_channels; i++)
        stream->channels[i].ended = 0;
    return stream_fault(stream->occ, "start");
}

/* --- waiting ------------------------------------------------------------------------------------------------- */

/* Take note of peers that came and went. */
static inline void stream_watch_peers(struct stream* stream) {
    for (int i = 0; i < stream->n_channels; i++) {
        struct channel* channel = &stream->channels[i];
        uint8_t event[6];
        char address[256];
        while (zmq_recv(channel->monitor, event, sizeof event, ZMQ_DONTWAIT) >= 0) {
            uint16_t number;
            memcpy(&number, event, sizeof number);
            zmq_recv(channel->monitor, address, sizeof address, 0);
            if (number == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
                channel->peers++;
                channel->had_peers = true;
            } else if (channel->peers > 0)
                channel->peers--;
        }
    }
}

/* Wait until inputs (or outputs) are ready or a command comes. */
static inline void stream_wait(struct stream* stream, bool inputs, bool outputs, int64_t timeout_ms, bool wakes) {
    zmq_pollitem_t items[MAX_CHANNELS + 1];
    int n = 0;
    for (int i = 0; i < stream->n_channels; i++) {
        bool is_input = stream->channels[i].is_input;
        if (is_input ? inputs : outputs)
            items[n++] =
                (zmq_pollitem_t){.socket = stream->channels[i].socket, .events = is_input ? ZMQ_POLLIN : ZMQ_POLLOUT};
    }
    if (wakes)
        items[n++] = (zmq_pollitem_t){.fd = occ_wake_fd(stream->occ), .events = ZMQ_POLLIN};
    zmq_poll(items, n, timeout_ms);
}

/* --- messages ------------------------------------------------------------------------------------------------ */

static inline struct account* stream_account(struct stream* stream, const char* source, size_t size) {
    for (int i = 0; i < stream->n_accounts; i++)
        if (strlen(stream->accounts[i].source) == size && memcmp(stream->accounts[i].source, source, size) == 0)
            return &stream->accounts[i];
    if (stream->n_accounts == MAX_SOURCES)
        return NULL;
    struct account* account = &stream->accounts[stream->n_accounts++];
    *account = (struct account){.count = 0};
    memcpy(account->source, source, size);
    return account;
}

static inline void stream_count(struct stream* stream, struct account* account, uint64_t sequence, const void* payload,
                                size_t size) {
    account->hash = stream_crc(stream, account->hash, &sequence, sizeof sequence);
    account->hash = stream_crc(stream, account->hash, payload, size);
    account->count++;
    stream->untold_events++;
    stream->untold_bytes += (int64_t)size;
    if (sequence >= account->next) {
        account->gaps += sequence - account->next;
        account->next = sequence + 1;
    } else
        account->repeated++;
}

/* Tell how many messages and bytes there were since the last time, and about once a second how many a second. */
static inline void stream_tell(struct stream* stream) {
    int64_t now_ns = stream_now_ns();
    if (stream->untold_events > 0) {
        occ_metric(stream->occ, "events", "", (double)stream->untold_events);
        occ_metric(stream->occ, "bytes", "B", (double)stream->untold_bytes);
    }
    stream->rated_events += stream->untold_events;
    stream->untold_events = stream->untold_bytes = 0;
    if (now_ns - stream->rated_ns >= 1000000000) {
        occ_metric(stream->occ, "rate", "Hz", (double)stream->rated_events * 1e9 / (double)(now_ns - stream->rated_ns));
        stream->rated_events = 0;
        stream->rated_ns = now_ns;
    }
}

/* Enter a received message into the books. Returns whether it is to be passed on. */
static inline bool stream_enter(struct stream* stream, struct channel* channel, zmq_msg_t* message) {
    struct header header; /* a copy: bytes from the network are not aligned */
    const uint8_t* bytes = zmq_msg_data(message);
    size_t size = zmq_msg_size(message);
    if (size >= sizeof header)
        memcpy(&header, bytes, sizeof header);
    if (size < sizeof header || memcmp(header.magic, "ECSM", 4) != 0 || header.version != 1 ||
        header.source_size > SOURCE_BYTES || header.run != stream->run) {
        stream->foreign++;
        return false;
    }
    if (header.kind == MESSAGE_PEER_END) {
        channel->ended++;
        return false;
    }
    struct account* account = stream_account(stream, header.source, header.source_size);
    if (account != NULL && header.kind == MESSAGE_END) {
        account->has_end = true;
        account->announced = header.sequence;
        account->announced_hash = header.hash;
    } else if (account != NULL)
        stream_count(stream, account, header.sequence, bytes + sizeof header, size - sizeof header);
    return true;
}

static inline struct header stream_header(const struct stream* stream, enum message_kind kind) {
    struct header header = {.magic = {'E', 'C', 'S', 'M'}, .version = 1, .kind = (uint8_t)kind, .run = stream->run};
    header.source_size = (uint16_t)strlen(stream->source);
    memcpy(header.source, stream->source, header.source_size);
    return header;
}

/* Receive one message of this run to pass on, from any input, not waiting. Returns false if none waits. */
static inline bool stream_receive(struct stream* stream, zmq_msg_t* message) {
    for (int i = 0; i < stream->n_channels; i++) {
        struct channel* channel = &stream->channels[i];
        while (channel->is_input) {
            zmq_msg_init(message);
            if (zmq_msg_recv(message, channel->socket, ZMQ_DONTWAIT) < 0)
                break;
            if (stream_enter(stream, channel, message))
                return true;
            zmq_msg_close(message);
        }
    }
    return false;
}

/* Pass the held message on to every output, not waiting. Returns false if one of them is full. */
static inline bool stream_pass_on(struct stream* stream) {
    while (stream->has_held && stream->held_next < stream->n_channels) {
        struct channel* channel = &stream->channels[stream->held_next];
        if (!channel->is_input) {
            zmq_msg_t copy;
            zmq_msg_init(&copy);
            zmq_msg_copy(&copy, &stream->held);
            if (zmq_msg_send(&copy, channel->socket, ZMQ_DONTWAIT) < 0) {
                zmq_msg_close(&copy);
                return false;
            }
        }
        stream->held_next++;
    }
    if (stream->has_held)
        zmq_msg_close(&stream->held);
    stream->has_held = false;
    return true;
}

/* --- the end of a run ---------------------------------------------------------------------------------------- */

/* Whether every peer of every input has said that it is through. */
static inline bool stream_inputs_ended(struct stream* stream) {
    stream_watch_peers(stream);
    for (int i = 0; i < stream->n_channels; i++) {
        struct channel* channel = &stream->channels[i];
        if (channel->is_input && (channel->ended < channel->peers || (channel->ended == 0 && !channel->had_peers)))
            return false;
    }
    return true;
}

/* At the end of a run: pass the held message on, but not to outputs whose peers are all gone. Returns false if one of
 * the others is full. */
static inline bool stream_pass_on_to_the_living(struct stream* stream) {
    while (!stream_pass_on(stream)) {
        struct channel* channel = &stream->channels[stream->held_next];
        stream_watch_peers(stream);
        if (channel->peers > 0 || !channel->had_peers)
            return false;
        stream->lost = true;
        stream->held_next++;
    }
    return true;
}

/* Send one message to every peer of every output. Returns false if there was no room until the deadline. */
static inline bool stream_send_end(struct stream* stream, const struct header* header, int64_t deadline_ns) {
    bool sent = true;
    for (int i = 0; i < stream->n_channels; i++) {
        struct channel* channel = &stream->channels[i];
        stream_watch_peers(stream);
        if (channel->is_input || (channel->peers == 0 && channel->had_peers))
            continue; /* they are gone: nobody waits for it */
        int copies = channel->peers > 1 ? channel->peers : 1;
        int type;
        size_t size = sizeof type;
        zmq_getsockopt(channel->socket, ZMQ_TYPE, &type, &size);
        for (int copy = 0; copy < (type == ZMQ_PUB ? 1 : copies); copy++)
            while (zmq_send(channel->socket, header, sizeof *header, ZMQ_DONTWAIT) < 0) {
                int64_t left_ms = (deadline_ns - stream_now_ns()) / 1000000;
                stream_watch_peers(stream);
                if (left_ms <= 0 || (channel->peers == 0 && channel->had_peers)) {
                    sent = false;
                    break;
                }
                zmq_pollitem_t item = {.socket = channel->socket, .events = ZMQ_POLLOUT};
                zmq_poll(&item, 1, left_ms < 50 ? left_ms : 50);
            }
    }
    return sent;
}

static inline void stream_write_text(FILE* file, const char* text) {
    fputc('"', file);
    for (; *text != '\0'; text++)
        if (*text == '"' || *text == '\\')
            fprintf(file, "\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            fprintf(file, "\\u%04x", (unsigned)*text);
        else
            fputc(*text, file);
    fputc('"', file);
}

/* Write the account of this run as JSON: to <report_dir>/<name>-run<run>.json by rename, or to stdout. */
static inline int stream_report(struct stream* stream, bool complete) {
    stream_tell(stream);
    if (!complete)
        occ_log(stream->occ, OCC_SEVERITY_WARNING, "run %u is not complete", stream->run);
    char path[8192] = "", temporary[8200];
    FILE* file = stdout;
    if (stream->report_dir[0] != '\0') {
        char safe[sizeof stream->name];
        for (size_t i = 0; i < sizeof safe; i++)
            safe[i] = stream->name[i] == '/' ? '_' : stream->name[i];
        snprintf(path, sizeof path, "%s/%s-run%u.json", stream->report_dir, safe, stream->run);
        snprintf(temporary, sizeof temporary, "%s.tmp", path);
        file = fopen(temporary, "we");
        if (file == NULL)
            return occ_fail(stream->occ, "cannot write %s: %s", temporary, strerror(errno));
    }
    fputs("{\"task\": ", file);
    stream_write_text(file, stream->name);
    fprintf(file,
            ", \"role\": \"%s\", \"run\": %u, \"complete\": %s, \"foreign\": %llu, \"seconds\": %.3f, \"sources\": {",
            stream->role, stream->run, complete ? "true" : "false", (unsigned long long)stream->foreign,
            (double)(stream_now_ns() - stream->started_ns) / 1e9);
    for (int i = 0; i < stream->n_accounts; i++) {
        const struct account* account = &stream->accounts[i];
        fputs(i > 0 ? ", " : "", file);
        stream_write_text(file, account->source);
        fprintf(file, ": {\"count\": %llu, \"gaps\": %llu, \"repeated\": %llu, \"hash\": \"%08x\", ",
                (unsigned long long)account->count, (unsigned long long)account->gaps,
                (unsigned long long)account->repeated, account->hash);
        if (account->has_end)
            fprintf(file, "\"announced\": %llu, \"announced_hash\": \"%08x\"}", (unsigned long long)account->announced,
                    account->announced_hash);
        else
            fputs("\"announced\": null, \"announced_hash\": null}", file);
    }
    fputs("}}\n", file);
    if (file == stdout)
        return fflush(stdout) == 0 ? 0 : occ_fail(stream->occ, "cannot write to stdout: %s", strerror(errno));
    if (fclose(file) != 0 || rename(temporary, path) != 0)
        return occ_fail(stream->occ, "cannot write %s: %s", path, strerror(errno));
    return 0;
}

/* Receive what is still on its way, pass it on where there are outputs, end the outputs, and write the report. */
static inline int stream_drain(struct stream* stream) {
    int64_t deadline_ns = stream_now_ns() + stream->drain_ms * 1000000;
    bool ended = false;
    while (!ended && stream_now_ns() < deadline_ns) {
        /* First ask who is connected, then read until nothing is left: what a peer sent before it went is then here. */
        bool all_ended = stream_inputs_ended(stream);
        bool passed = stream_pass_on_to_the_living(stream);
        while (passed && stream_receive(stream, &stream->held)) {
            stream->has_held = true;
            stream->held_next = 0;
            passed = stream_pass_on_to_the_living(stream);
        }
        ended = passed && all_ended;
        if (!ended && !stream_inputs_ended(stream))
            stream_wait(stream, passed, !passed, 20, false);
        else if (!passed)
            stream_wait(stream, false, true, 20, false);
    }
    for (int i = 0; i < stream->n_accounts; i++)
        ended = ended && stream->accounts[i].has_end && stream->accounts[i].announced == stream->accounts[i].count;
    struct header header = stream_header(stream, MESSAGE_PEER_END);
    bool sent = stream_send_end(stream, &header, deadline_ns);
    return stream_report(stream, ended && sent && !stream->lost);
}

/* Make the task, run it, and return the exit status of the program. */
static inline int stream_main(struct stream* stream, const struct occ_callbacks* callbacks) {
    occ_t* occ;
    int status = occ_create(&occ, callbacks, stream);
    if (status != 0) {
        fprintf(stderr, "%s: %s%s%s\n", stream->role, occ_error_text(status), status == OCC_E_BIND ? ": " : "",
                status == OCC_E_BIND ? zmq_strerror(errno) : "");
        return 1;
    }
    status = occ_run(occ);
    stream_close(stream);
    occ_destroy(occ);
    return status == 0 ? 0 : 1;
}

#endif
