/* The reader and writer of libocc: golden frames, and bytes that nobody meant to send. argv[1] is the folder tests/. */
#include "wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition) check((condition), #condition, __LINE__)

enum { MAX_TEXT = 1 << 20, MAX_FRAME = 1 << 17, MUTATIONS = 40, RANDOM_FRAMES = 100000 };

static int failures;

static void check(bool condition, const char* text, int line) {
    if (condition)
        return;
    fprintf(stderr, "line %d: %s\n", line, text);
    failures++;
}

/* A frame in memory of exactly its size: the sanitizer sees a read beyond it. */
struct frame {
    uint8_t* bytes;
    size_t size;
};

static struct frame copy_frame(const uint8_t* bytes, size_t size) {
    struct frame frame = {malloc(size > 0 ? size : 1), size};
    if (frame.bytes == NULL)
        abort();
    if (size > 0)
        memcpy(frame.bytes, bytes, size);
    return frame;
}

/* Whatever the frame is, reading ends, and what was read can be written and read again. */
static bool survives(const uint8_t* bytes, size_t size) {
    static uint8_t written[MAX_FRAME], again[MAX_FRAME];
    struct frame frame = copy_frame(bytes, size);
    struct occ_message message, second;
    bool readable = occ_wire_decode(frame.bytes, frame.size, &message) == 0;
    if (readable) {
        size_t length = sizeof written, length_again = sizeof again;
        CHECK(occ_wire_encode(&message, written, &length) == 0);
        CHECK(occ_wire_decode(written, length, &second) == 0);
        CHECK(second.kind == message.kind);
        CHECK(occ_wire_encode(&second, again, &length_again) == 0);
        CHECK(length == length_again && memcmp(written, again, length) == 0);
    }
    free(frame.bytes);
    return readable;
}

/* --- golden frames ------------------------------------------------------------------------------------------- */

static char* read_file(const char* folder, const char* name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE* file = fopen(path, "rb");
    char* text = calloc(1, MAX_TEXT);
    if (file == NULL || text == NULL || fread(text, 1, MAX_TEXT - 1, file) == 0) {
        perror(path);
        exit(1);
    }
    fclose(file);
    return text;
}

/* Take the next "hex" before `end`. Returns false if there is none. */
static bool next_hex(const char** at, const char* end, uint8_t* bytes, size_t* size) {
    static const char key[] = "\"hex\": \"";
    const char* found = strstr(*at, key);
    if (found == NULL || found >= end)
        return false;
    found += strlen(key);
    *size = 0;
    for (unsigned byte; sscanf(found, "%2x", &byte) == 1; found += 2)
        bytes[(*size)++] = (uint8_t)byte;
    *at = found;
    return true;
}

static void test_golden_frames(const char* text) {
    static uint8_t bytes[MAX_FRAME], written[MAX_FRAME];
    const char* readable = strstr(text, "\"readable\"");
    const char* unreadable = strstr(text, "\"unreadable\"");
    const char* at = text;
    size_t size, n = 0;
    while (next_hex(&at, readable, bytes, &size)) {
        struct occ_message message;
        struct frame frame = copy_frame(bytes, size);
        size_t length = sizeof written;
        CHECK(occ_wire_decode(frame.bytes, frame.size, &message) == 0);
        CHECK(occ_wire_encode(&message, written, &length) == 0);
        CHECK(length == size && memcmp(written, bytes, size) == 0);
        for (size_t shorter = 0; shorter < size; shorter++) {
            struct frame cut = copy_frame(bytes, shorter);
            CHECK(occ_wire_decode(cut.bytes, cut.size, &message) == OCC_E_FRAME);
            free(cut.bytes);
        }
        free(frame.bytes);
        n++;
    }
    CHECK(n >= 30);
    for (n = 0, at = readable; next_hex(&at, unreadable, bytes, &size); n++)
        CHECK(survives(bytes, size));
    CHECK(n >= 6);
    for (n = 0, at = unreadable; next_hex(&at, text + strlen(text), bytes, &size); n++)
        CHECK(!survives(bytes, size));
    CHECK(n >= 25);
}

static void test_defaults_fill_absent_fields(void) {
    static const uint8_t frame[] = {0x94, 1, 1, 5, 0xa1, 'n'}; /* Hello(CONTROLLER, 5, "n") of an older version */
    struct occ_message message;
    CHECK(occ_wire_decode(frame, sizeof frame, &message) == 0);
    CHECK(message.hello.version_low == 1 && message.hello.version_high == 1 && !message.hello.steal);
    CHECK(message.hello.epoch == 5 && message.hello.name.size == 1);
}

static void test_a_frame_over_the_limit_is_refused(void) {
    uint8_t* frame = calloc(1, OCC_MAX_FRAME_BYTES + 1);
    struct occ_message message;
    if (frame == NULL)
        abort();
    CHECK(occ_wire_decode(frame, OCC_MAX_FRAME_BYTES + 1, &message) == OCC_E_FRAME);
    free(frame);
}

/* --- the writer ---------------------------------------------------------------------------------------------- */

static void test_the_writer_never_passes_the_end(void) {
    struct occ_message message = {.kind = OCC_KIND_HAPPENED};
    char text[300];
    memset(text, 'x', sizeof text);
    message.happened = (struct occ_happened){OCC_DEVICE_EVENT_TYPE_END_OF_STREAM, {text, sizeof text}};
    for (size_t capacity = 0; capacity <= 306; capacity++) {
        uint8_t* frame = malloc(capacity > 0 ? capacity : 1);
        size_t size = capacity;
        int status = occ_wire_encode(&message, frame, &size);
        CHECK(status == (capacity < 306 ? OCC_E_SPACE : 0));
        CHECK(size <= capacity);
        free(frame);
    }
}

static void test_what_is_no_message_is_not_written(void) {
    struct occ_message message = {.kind = 99};
    uint8_t frame[16];
    size_t size = sizeof frame;
    CHECK(occ_wire_encode(&message, frame, &size) == OCC_E_ARGUMENT);
}

static void test_long_texts_have_the_longest_form(void) {
    static uint8_t frame[MAX_FRAME];
    static char text[70000];
    struct occ_message message = {.kind = OCC_KIND_HAPPENED}, again;
    memset(text, 'x', sizeof text);
    message.happened = (struct occ_happened){OCC_DEVICE_EVENT_TYPE_END_OF_STREAM, {text, sizeof text}};
    size_t size = sizeof frame;
    CHECK(occ_wire_encode(&message, frame, &size) == 0);
    CHECK(size == 3 + 5 + sizeof text && frame[3] == 0xdb);
    CHECK(occ_wire_decode(frame, size, &again) == 0 && again.happened.text.size == sizeof text);
}

static void test_text_is_cleaned(void) {
    static const struct {
        const char *dirty, *clean;
        size_t capacity;
    } cases[] = {
        {"plain", "plain", 10},
        {"\xff", "?", 10},
        {"a\xc3\xa9", "a\xc3\xa9", 10},
        {"a\xc3", "a?", 10},
        {"\xed\xa0\x80", "???", 10},
        {"\xc0\x80", "??", 10},
        {"\xf4\x90\x80\x80", "????", 10},
        {"cut", "cu", 3},
        {"a\xc3\xa9", "a", 3},
        {"", "", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char clean[16];
        size_t size = occ_wire_clean_text(cases[i].dirty, strlen(cases[i].dirty), clean, cases[i].capacity);
        CHECK(strcmp(clean, cases[i].clean) == 0 && size == strlen(clean));
    }
}

/* --- noise --------------------------------------------------------------------------------------------------- */

static uint64_t noise = 0x9e3779b97f4a7c15;

static uint64_t next_noise(void) {
    noise ^= noise << 13;
    noise ^= noise >> 7;
    return noise ^= noise << 17;
}

static void test_changed_frames(const char* text) {
    static uint8_t bytes[MAX_FRAME];
    const char* at = text;
    size_t size;
    while (next_hex(&at, text + strlen(text), bytes, &size))
        for (int i = 0; i < MUTATIONS && size > 0 && size < 2048; i++) {
            static uint8_t changed[4096];
            memcpy(changed, bytes, size);
            for (uint64_t n = 1 + next_noise() % 3; n > 0; n--)
                changed[next_noise() % size] = (uint8_t)next_noise();
            survives(changed, size);
        }
}

static void test_random_frames(void) {
    static const uint8_t kinds[] = {1, 2, 3, 16, 17, 18, 19, 20, 21};
    int readable = 0;
    for (int i = 0; i < RANDOM_FRAMES; i++) {
        uint8_t bytes[64];
        size_t size = next_noise() % sizeof bytes;
        for (size_t j = 0; j < size; j++)
            bytes[j] = (uint8_t)next_noise();
        if (size > 2) { /* a good start takes the noise further in */
            bytes[0] = (uint8_t)(0x92 + next_noise() % 6);
            bytes[1] = kinds[next_noise() % sizeof kinds];
        }
        readable += survives(bytes, size);
    }
    CHECK(readable > 0);
}

int main(int argc, char** argv) {
    if (argc != 2)
        return 2;
    char* text = read_file(argv[1], "vectors/task.json");
    test_golden_frames(text);
    test_defaults_fill_absent_fields();
    test_a_frame_over_the_limit_is_refused();
    test_the_writer_never_passes_the_end();
    test_what_is_no_message_is_not_written();
    test_long_texts_have_the_longest_form();
    test_text_is_cleaned();
    test_changed_frames(text);
    test_random_frames();
    free(text);
    return failures > 0;
}
