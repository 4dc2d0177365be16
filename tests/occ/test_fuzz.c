/* A million frames that nobody meant to send, through the decoder and through the whole of a task but its sockets:
 * who may command, commands, answers, callbacks, numbers and lines. argv[1] is the folder tests/; $OCC_FUZZ_SEED and
 * $OCC_FUZZ_FRAMES choose another history. Run under the sanitizers, which see what goes wrong inside; what comes out
 * is decoded again and checked here.
 *
 * The task is made of the library's own files, with zmq_send replaced. */
#include <zmq.h>

static int fake_send(void* socket, const void* bytes, size_t size, int flags);
#define zmq_send fake_send
#include "link.c"
#include "tell.c"
#include "occ.c"
#undef zmq_send

enum { MAX_SEEDS = 200, MAX_FRAME = 1 << 16, N_PEERS = 24, FRAMES = 1000000 };

static int failures;
static uint64_t state_of_random;
static long frame_number;

#define EXPECT(condition) expect((condition), #condition, __LINE__)

static void expect(bool condition, const char* text, int line) {
    if (condition)
        return;
    fprintf(stderr, "line %d, frame %ld: %s\n", line, frame_number, text);
    if (++failures > 20)
        exit(1);
}

/* xorshift64*: the same on every machine. */
static uint64_t next_random(void) {
    state_of_random ^= state_of_random >> 12;
    state_of_random ^= state_of_random << 25;
    state_of_random ^= state_of_random >> 27;
    return state_of_random * 0x2545f4914f6cdd1dULL;
}

static size_t below(size_t n) {
    return (size_t)((next_random() >> 11) % n);
}

static bool chance(unsigned percent) {
    return below(100) < percent;
}

/* --- what the task sends ------------------------------------------------------------------------------------- */

static struct link* the_link;
static int part;
static uint8_t told_peer[256];
static size_t told_peer_size;
static uint64_t last_sequence;
static long counts[32];
static long performed[OCC_STATE_PAUSED + 1][OCC_EVENT_RECONFIGURE + 1];

static void check_told(const void* bytes, size_t size) {
    struct occ_message message;
    EXPECT(size <= OUT_BYTES);
    EXPECT(occ_wire_decode(bytes, size, &message) == 0);
    EXPECT(message.kind >= OCC_KIND_WELCOME && message.kind <= OCC_KIND_LOG);
    counts[message.kind & 31]++;
    int holder = the_link->holder;
    bool to_holder = holder >= 0 && the_link->peers[holder].id_size == told_peer_size &&
                     memcmp(the_link->peers[holder].id, told_peer, told_peer_size) == 0;
    if (message.kind == OCC_KIND_RESULT) {
        EXPECT(to_holder);
        EXPECT(message.result.state >= OCC_STATE_STANDBY && message.result.state <= OCC_STATE_PAUSED);
        EXPECT(!message.result.ok || message.result.error.size == 0);
        EXPECT(message.result.ok || message.result.error.size > 0);
    }
    if (message.kind == OCC_KIND_STATE_CHANGED) {
        EXPECT((uint64_t)message.state_changed.sequence >= last_sequence); /* nobody may have been there in between */
        last_sequence = (uint64_t)message.state_changed.sequence;
    }
    if (message.kind == OCC_KIND_METRIC)
        EXPECT(message.metric.n > 0 && message.metric.min <= message.metric.max);
}

static int fake_send(void* socket, const void* bytes, size_t size, int flags) {
    (void)socket;
    if (part == 0) {
        if (chance(1)) {
            errno = chance(50) ? EHOSTUNREACH : EAGAIN;
            return -1;
        }
        memcpy(told_peer, bytes, size);
        told_peer_size = size;
    }
    EXPECT(((flags & ZMQ_SNDMORE) != 0) == (part < 2));
    if (part == 1)
        EXPECT(size == 1 && *(const uint8_t*)bytes == OCC_WIRE_VERSION);
    if (part == 2)
        check_told(bytes, size);
    part = (part + 1) % 3;
    return (int)size;
}

/* --- what the task does -------------------------------------------------------------------------------------- */

static int callback(occ_t* occ, void* user) {
    size_t cursor = 0;
    const char *key, *value;
    (void)user;
    while (occ_property_next(occ, &cursor, &key, &value) == 0)
        EXPECT(strcmp(occ_property(occ, key, ""), value) == 0);
    if (chance(30))
        occ_metric(occ, chance(50) ? "a" : "b", "u", (double)(int64_t)next_random());
    if (chance(30))
        occ_log(occ, OCC_SEVERITY_INFO, "%.*s", (int)below(3000), occ_property(occ, "a", "\xff\n\n"));
    return chance(10) ? occ_fail(occ, "told to fail \xff") : 0;
}

static int start(occ_t* occ, void* user, uint32_t run) {
    EXPECT(run == occ->run);
    return callback(occ, user);
}

static const struct occ_callbacks callbacks = {.configure = callback,
                                               .reset = callback,
                                               .recover = callback,
                                               .start = start,
                                               .stop = callback,
                                               .pause = callback,
                                               .resume = callback,
                                               .exit = callback,
                                               .reconfigure = callback};

static void open_task(occ_t* occ) {
    memset(occ, 0, sizeof *occ);
    occ->callbacks = callbacks;
    if (chance(20))
        occ->callbacks.reconfigure = NULL;
    occ->state = OCC_STATE_STANDBY;
    pthread_mutex_init(&occ->lock, NULL);
    pthread_cond_init(&occ->room, NULL);
    occ->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    occ->link_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    occ_telemetry_open(&occ->telemetry, occ->link_fd);
    last_sequence = 0;
}

static void close_task(occ_t* occ) {
    if (occ->command.busy)
        zmq_msg_close(&occ->command.frame);
    forget_properties(occ);
    close(occ->wake_fd);
    close(occ->link_fd);
    occ_telemetry_close(&occ->telemetry);
    pthread_cond_destroy(&occ->room);
    pthread_mutex_destroy(&occ->lock);
}

/* --- frames --------------------------------------------------------------------------------------------------- */

struct frame {
    uint8_t bytes[MAX_FRAME];
    size_t size;
};

static struct frame seeds[MAX_SEEDS];
static size_t n_seeds;

static void read_seeds(const char* folder) {
    static char text[1 << 20];
    static const char key[] = "\"hex\": \"";
    char path[4096];
    snprintf(path, sizeof path, "%s/vectors/task.json", folder);
    FILE* file = fopen(path, "rb");
    if (file == NULL || fread(text, 1, sizeof text - 1, file) == 0) {
        perror(path);
        exit(1);
    }
    fclose(file);
    for (const char* at = text; (at = strstr(at, key)) != NULL && n_seeds < MAX_SEEDS; n_seeds++) {
        at += strlen(key);
        for (unsigned byte; sscanf(at, "%2x", &byte) == 1; at += 2)
            seeds[n_seeds].bytes[seeds[n_seeds].size++] = (uint8_t)byte;
    }
    EXPECT(n_seeds > 70);
}

/* A message that a controller could send, more often than not in the right state. */
static void make_good(const occ_t* occ, struct frame* frame) {
    static const char* const names[] = {"", "a", "b",
                                        "a name that is exactly as long as a name may be, so that it fits.."};
    static const char* const values[] = {"",        "1", "4294967295", "4294967296", "x", "a longer value than others",
                                         "\xc3\xa9"};
    static const char* const keys[] = {"a", "b", "runNumber", "run_number", "chans.x.0.address", ""};
    static const char nul[] = "a\0b";
    static uint8_t pairs[4096];
    static char id[16];
    struct occ_message message = {.kind = OCC_KIND_PING};
    message.ping.number = (int64_t)next_random();
    size_t what = below(10);
    if (what < 1) {
        const char* name = names[below(4)];
        message.kind = OCC_KIND_HELLO;
        message.hello =
            (struct occ_hello){1 + (int64_t)chance(30), (int64_t)below(5), {name, strnlen(name, 64)}, 1, 1, chance(10)};
        if (chance(5))
            message.hello.version_low = (int64_t)below(4);
    } else if (what < 9) {
        struct writer writer = {pairs, sizeof pairs, false};
        uint32_t count = chance(40) ? (uint32_t)below(20) : 0;
        for (uint32_t i = 0; i < count; i++) {
            const char* key = keys[below(6)];
            const char* value = values[below(7)];
            occ_put_text(&writer, (struct occ_text){key, strlen(key)});
            if (chance(2))
                occ_put_text(&writer, (struct occ_text){nul, sizeof nul - 1});
            else
                occ_put_text(&writer, (struct occ_text){value, strlen(value)});
        }
        int size = snprintf(id, sizeof id, "id-%d", (int)below(chance(30) ? 20 : 100000));
        message.kind = OCC_KIND_TRANSITION;
        message.transition = (struct occ_transition){
            {id, (size_t)size},
            (int64_t)below(12),
            chance(80) ? occ->state : (int64_t)below(10),
            {pairs, sizeof pairs - writer.left, count},
        };
    }
    frame->size = MAX_FRAME;
    EXPECT(occ_wire_encode(&message, frame->bytes, &frame->size) == 0);
}

static void splice(struct frame* frame, size_t at, size_t removed, const uint8_t* bytes, size_t size) {
    if (at > frame->size)
        at = frame->size;
    if (removed > frame->size - at)
        removed = frame->size - at;
    if (frame->size - removed + size > MAX_FRAME)
        return;
    memmove(frame->bytes + at + size, frame->bytes + at + removed, frame->size - at - removed);
    memcpy(frame->bytes + at, bytes, size);
    frame->size += size - removed;
}

/* Write some value, mostly an odd one. */
static size_t odd_value(uint8_t* bytes, size_t capacity) {
    static const uint8_t odd[][9] = {
        {0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
        {0xd3, 0x80},
        {0xcb, 0x7f, 0xf0},
        {0xcb, 0x7f, 0xf8, 1},
        {0xca, 0xff, 0x80},
        {0xdf, 0xff, 0xff, 0xff, 0xff},
        {0xdd, 0x7f, 0xff, 0xff, 0xff},
        {0xdb, 0xff, 0xff, 0xff, 0xff},
        {0xc6, 0xff, 0xff, 0xff, 0xff},
        {0xc9, 0xff, 0xff, 0xff, 0xff},
        {0xda, 0xff, 0xff},
        {0xde, 0x00, 0x02},
        {0xc0},
        {0xc1},
        {0xd8},
        {0x9f},
        {0x8f},
        {0xbf},
    };
    static const size_t sizes[] = {9, 9, 9, 9, 5, 5, 5, 5, 5, 5, 3, 3, 1, 1, 1, 1, 1, 1};
    struct writer writer = {bytes, capacity, false};
    size_t i = below(sizeof sizes / sizeof *sizes + 6);
    if (i < sizeof sizes / sizeof *sizes) {
        memcpy(bytes, odd[i], sizes[i]);
        return sizes[i];
    }
    static const char text[] = "text of forty characters, more or less.";
    static const int64_t numbers[] = {0, -1, 1, 127, 128, 255, 256, INT64_MAX, INT64_MIN, INT32_MAX, INT32_MIN};
    switch (i % 3) {
    case 0:
        occ_put_int(&writer, numbers[below(11)]);
        break;
    case 1:
        occ_put_text(&writer, (struct occ_text){text, below(sizeof text)});
        break;
    default:
        occ_put_bool(&writer, chance(50));
    }
    return capacity - writer.left;
}

/* Find where item i of the array begins and how long it is. Returns false if there is none. */
static bool find_item(const struct frame* frame, size_t i, size_t* at, size_t* size) {
    struct reader reader = {frame->bytes, frame->bytes + frame->size};
    struct token token;
    if (!occ_read_token(&reader, &token) || token.type != TOKEN_ARRAY || i >= token.count)
        return false;
    for (;; i--) {
        const uint8_t* begin = reader.at;
        if (!occ_skip(&reader))
            return false;
        *at = (size_t)(begin - frame->bytes);
        *size = (size_t)(reader.at - begin);
        if (i == 0)
            return true;
    }
}

static void mutate(struct frame* frame) {
    uint8_t bytes[64];
    size_t at = below(frame->size + 1), size, item;
    switch (below(9)) {
    case 0: /* a bit */
        if (at < frame->size)
            frame->bytes[at] ^= (uint8_t)(1u << below(8));
        break;
    case 1: /* a byte */
        if (at < frame->size)
            frame->bytes[at] = (uint8_t)next_random();
        break;
    case 2:
        size = odd_value(bytes, sizeof bytes);
        splice(frame, at, below(3), bytes, size);
        break;
    case 3:
        splice(frame, at, 1 + below(8), bytes, 0);
        break;
    case 4: /* another value for a field */
    case 5:
        size = odd_value(bytes, sizeof bytes);
        if (find_item(frame, below(8), &at, &item))
            splice(frame, at, item, bytes, size);
        break;
    case 6: /* a field twice, or none of it */
        if (find_item(frame, below(8), &at, &item) && item <= sizeof bytes) {
            memcpy(bytes, frame->bytes + at, item);
            splice(frame, at, 0, bytes, item);
        }
        break;
    case 7: { /* a piece of another message */
        const struct frame* other = &seeds[below(n_seeds)];
        size_t from = below(other->size + 1);
        splice(frame, at, below(8), other->bytes + from, below(other->size - from + 1));
        break;
    }
    default: /* another number of fields */
        if (frame->size > 0)
            frame->bytes[0] = (uint8_t)(0x90 | below(16));
    }
}

static void make_frame(const occ_t* occ, struct frame* frame) {
    size_t what = below(100);
    if (what < 45) {
        make_good(occ, frame);
        if (chance(70))
            return;
    } else if (what < 95)
        *frame = seeds[below(n_seeds)];
    else {
        frame->size = below(200);
        for (size_t i = 0; i < frame->size; i++)
            frame->bytes[i] = (uint8_t)next_random();
        return;
    }
    for (size_t n = 1 + below(3); n > 0; n--)
        mutate(frame);
}

/* Reading ends, and what was read can be written and read again. */
static void try_codec(const uint8_t* bytes, size_t size) {
    static uint8_t written[2 * MAX_FRAME], again[2 * MAX_FRAME];
    struct occ_message message, second;
    if (occ_wire_decode(bytes, size, &message) != 0)
        return;
    size_t length = sizeof written, length_again = sizeof again;
    EXPECT(occ_wire_encode(&message, written, &length) == 0);
    EXPECT(occ_wire_decode(written, length, &second) == 0);
    EXPECT(second.kind == message.kind);
    EXPECT(occ_wire_encode(&second, again, &length_again) == 0);
    EXPECT(length == length_again && memcmp(written, again, length) == 0);
}

static void free_bytes(void* bytes, void* hint) {
    (void)hint;
    free(bytes);
}

static void feed(struct link* link, const struct frame* frame) {
    static const char ids[N_PEERS][9] = {"0", "1", "22", "333", "4444", "55555", "666666", "7777777",
                                         "a", "b", "c",  "d",   "e",    "f",     "g",      "h",
                                         "i", "j", "k",  "l",   "m",    "n",     "o",      "p"};
    zmq_msg_t id, message;
    const char* name = ids[chance(70) ? below(3) : below(N_PEERS)];
    uint8_t* bytes = malloc(frame->size > 0 ? frame->size : 1); /* of exactly its size: a read beyond it is seen */
    if (bytes == NULL)
        abort();
    memcpy(bytes, frame->bytes, frame->size);
    try_codec(bytes, frame->size);
    zmq_msg_init_size(&id, strlen(name));
    memcpy(zmq_msg_data(&id), name, strlen(name));
    zmq_msg_init_data(&message, bytes, frame->size, free_bytes, NULL);
    occ_tell_notes(link); /* as the link's thread: what is noted goes out before a frame is read */
    on_frame(link, &id, &message);
    zmq_msg_close(&message);
    zmq_msg_close(&id);
}

static void check_link(const struct link* link) {
    const occ_t* occ = link->occ;
    EXPECT(link->holder >= -1 && link->holder < MAX_PEERS);
    EXPECT(link->holder < 0 || (link->held && link->peers[link->holder].id_size > 0));
    EXPECT(strlen(link->name) <= OCC_MAX_ID_BYTES);
    EXPECT(occ->state >= OCC_STATE_STANDBY && occ->state <= OCC_STATE_PAUSED && occ->state != OCC_STATE_MIXED);
    EXPECT(occ->n_notes <= MAX_NOTES);
    EXPECT(occ->command.waits ? occ->command.busy : true);
}

int main(int argc, char** argv) {
    static occ_t occ;
    static struct link link;
    static struct frame frame;
    const char* told = getenv("OCC_FUZZ_SEED");
    const char* many = getenv("OCC_FUZZ_FRAMES");
    uint64_t seed = told != NULL ? strtoull(told, NULL, 10) : 20261123;
    long frames = many != NULL ? atol(many) : FRAMES, tasks = 0;
    state_of_random = seed * 2 + 1;
    printf("seed %llu, %ld frames\n", (unsigned long long)seed, frames);
    read_seeds(argc > 1 ? argv[1] : "tests");
    the_link = &link;
    for (frame_number = 0; frame_number < frames;) {
        open_task(&occ);
        link = (struct link){.occ = &occ, .holder = -1};
        tasks++;
        long end = frame_number + 2000;
        for (; frame_number < end && frame_number < frames && occ.state != OCC_STATE_DONE; frame_number++) {
            make_frame(&occ, &frame);
            feed(&link, &frame);
            check_link(&link);
            if (occ.command.waits)
                performed[occ.state][occ.command.event]++;
            if (chance(60))
                perform(&occ);
            if (below(300) == 0)
                go_error(&occ, "iterate_running", (int)below(9));
            if (occ.n_notes > MAX_NOTES / 2 || chance(50))
                occ_tell_notes(&link);
            if (chance(5) && occ_telemetry_due(&link) >= 0)
                occ_tell_telemetry(&link);
        }
        occ_tell_telemetry(&link);
        close_task(&occ);
    }
    printf(
        "%ld tasks; told: %ld Welcome, %ld Refused, %ld Result, %ld StateChanged, %ld Pong, %ld Happened, %ld Metric, "
        "%ld Log\n",
        tasks, counts[16], counts[17], counts[18], counts[19], counts[20], counts[21], counts[22], counts[23]);
    for (int kind = OCC_KIND_WELCOME; kind <= OCC_KIND_LOG; kind++)
        EXPECT(counts[kind] > frames / 2000); /* else it did not go deep */
    for (int state = 0; state <= OCC_STATE_PAUSED; state++)
        for (int event = 1; event <= OCC_EVENT_RECONFIGURE; event++)
            EXPECT(performed[state][event] > 0 || occ_next[state][event] == OCC_STATE_UNKNOWN);
    return failures > 0;
}
