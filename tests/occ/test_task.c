/* libocc without a controller: properties, names, ends, and wrong uses. */
#include "handle.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition) check((condition), #condition, __LINE__)

static int failures;

static void check(bool condition, const char* text, int line) {
    if (condition)
        return;
    fprintf(stderr, "line %d: %s\n", line, text);
    failures++;
}

/* Pack pairs of short texts as a map, and make properties of it. */
static struct properties* make(size_t n_texts, const char* const* texts) {
    uint8_t bytes[1024];
    size_t used = 0;
    struct properties* properties = NULL;
    for (size_t i = 0; i < n_texts; i++) {
        size_t size = strlen(texts[i]);
        bytes[used++] = (uint8_t)(0xa0 | size);
        memcpy(bytes + used, texts[i], size);
        used += size;
    }
    struct occ_map map = {bytes, used, (uint32_t)n_texts / 2};
    CHECK(occ_properties_make(map, &properties) == 0);
    return properties;
}

#define MAKE(...) make(sizeof((const char*[]){__VA_ARGS__}) / sizeof(char*), (const char*[]){__VA_ARGS__})

static bool is(const char* text, const char* expected) {
    return text != NULL && strcmp(text, expected) == 0;
}

static void test_properties_are_found(void) {
    struct properties* properties = MAKE("b", "2", "a", "1", "c", "", "", "empty");
    CHECK(properties->count == 4);
    CHECK(is(occ_properties_find(properties, "a"), "1"));
    CHECK(is(occ_properties_find(properties, "c"), ""));
    CHECK(is(occ_properties_find(properties, ""), "empty"));
    CHECK(occ_properties_find(properties, "d") == NULL);
    CHECK(occ_properties_find(NULL, "a") == NULL);
    free(properties);
}

static void test_of_equal_keys_the_last_holds(void) {
    struct properties* properties = MAKE("a", "1", "b", "x", "a", "2", "a", "3");
    CHECK(properties->count == 2);
    CHECK(is(occ_properties_find(properties, "a"), "3"));
    free(properties);
}

static void test_a_nul_inside_is_an_error(void) {
    static const uint8_t pairs[] = {0xa1, 'a', 0xa2, 'b', 0};
    struct properties* properties = NULL;
    CHECK(occ_properties_make((struct occ_map){pairs, sizeof pairs, 1}, &properties) == OCC_E_VALUE);
    CHECK(properties == NULL);
}

static void test_no_properties(void) {
    struct properties* properties = NULL;
    CHECK(occ_properties_make((struct occ_map){NULL, 0, 0}, &properties) == 0);
    CHECK(properties->count == 0 && occ_properties_find(properties, "a") == NULL);
    free(properties);
}

static void test_values_have_types(void) {
    occ_t occ = {.state = OCC_STATE_STANDBY};
    int64_t number = -1;
    double real = -1;
    bool truth = true;
    occ.layers[0] = MAKE("n", "42", "hex", "0x10", "big", "9223372036854775808", "text", "4x", "f", "2.5e3", "inf",
                         "inf", "empty", "", "yes", "Yes", "off", "off", "odd", "maybe");
    CHECK(occ_property_int(&occ, "n", &number) == 0 && number == 42);
    CHECK(occ_property_int(&occ, "hex", &number) == 0 && number == 16);
    CHECK(occ_property_int(&occ, "big", &number) == OCC_E_VALUE);
    CHECK(occ_property_int(&occ, "text", &number) == OCC_E_VALUE);
    CHECK(occ_property_int(&occ, "empty", &number) == OCC_E_VALUE);
    CHECK(occ_property_int(&occ, "absent", &number) == OCC_E_NOT_FOUND && number == 16);
    CHECK(occ_property_float(&occ, "f", &real) == 0 && real == 2500);
    CHECK(occ_property_float(&occ, "inf", &real) == OCC_E_VALUE);
    CHECK(occ_property_float(&occ, "empty", &real) == OCC_E_VALUE);
    CHECK(occ_property_float(&occ, "absent", &real) == OCC_E_NOT_FOUND && real == 2500);
    CHECK(occ_property_bool(&occ, "off", &truth) == 0 && !truth);
    CHECK(occ_property_bool(&occ, "yes", &truth) == 0 && truth);
    CHECK(occ_property_bool(&occ, "odd", &truth) == OCC_E_VALUE);
    CHECK(occ_property_bool(&occ, "absent", &truth) == OCC_E_NOT_FOUND && truth);
    free(occ.layers[0]);
}

static void test_later_layers_hold_and_the_walk_shows_each_key_once(void) {
    occ_t occ = {.state = OCC_STATE_RUNNING};
    occ.layers[0] = MAKE("a", "0", "b", "0", "c", "0");
    occ.layers[2] = MAKE("b", "2", "d", "2");
    char seen[64] = "";
    size_t cursor = 0;
    const char *key, *value;
    while (occ_property_next(&occ, &cursor, &key, &value) == 0) {
        strcat(seen, key);
        strcat(seen, value);
    }
    CHECK(strcmp(seen, "a0c0b2d2") == 0);
    CHECK(is(occ_property(&occ, "b", ""), "2"));
    CHECK(is(occ_property(&occ, "z", "fallback"), "fallback"));
    for (int i = 0; i < LAYERS; i++)
        free(occ.layers[i]);
}

static void test_a_subtree_is_walked_by_its_prefix(void) {
    occ_t occ = {.state = OCC_STATE_RUNNING};
    occ.layers[0] = MAKE("a", "0", "a.b", "1", "a.c.d", "2", "ab.c", "3", "a.", "4");
    occ.layers[1] = MAKE("a.b", "5");
    char seen[64] = "";
    size_t cursor = 0;
    const char *key, *value;
    while (occ_property_under(&occ, "a", &cursor, &key, &value) == 0) {
        strcat(seen, key);
        strcat(seen, value);
    }
    CHECK(strcmp(seen, "c.d2b5") == 0);
    cursor = 0;
    CHECK(occ_property_under(&occ, "none", &cursor, &key, &value) == OCC_E_NOT_FOUND);
    for (int i = 0; i < LAYERS; i++)
        free(occ.layers[i]);
}

static void test_changes_lie_on_top_of_what_was_there(void) {
    occ_t occ = {.state = OCC_STATE_CONFIGURED};
    struct properties* under = MAKE("b", "1", "d", "2");
    struct properties* over = MAKE("a", "3", "b", "4", "e", "");
    occ.layers[0] = occ_properties_merge(under, over);
    CHECK(occ.layers[0]->count == 4);
    CHECK(is(occ_property(&occ, "a", ""), "3") && is(occ_property(&occ, "b", ""), "4"));
    CHECK(is(occ_property(&occ, "d", ""), "2") && is(occ_property(&occ, "e", "?"), ""));
    CHECK(occ_changed(&occ, "a") == 0); /* only while the callback works */
    free(occ.layers[0]);
    occ.layers[0] = occ_properties_merge(NULL, over);
    CHECK(occ.layers[0]->count == 3);
    free(occ.layers[0]);
    free(under);
    free(over);
}

static void test_names(void) {
    CHECK(is(occ_state_text(OCC_STATE_RUNNING), "RUNNING"));
    CHECK(is(occ_state_text(-1), "?") && is(occ_state_text(99), "?"));
    CHECK(is(occ_event_text(OCC_EVENT_CONFIGURE), "CONFIGURE"));
    CHECK(is(occ_event_text(0), "?") && is(occ_event_text(99), "?"));
    for (int error = OCC_E_CALLBACK; error <= OCC_END_OF_STREAM; error++)
        CHECK(!is(occ_error_text(error), "unknown error"));
    CHECK(is(occ_error_text(-99), "unknown error"));
}

static void test_the_table_has_no_way_to_nowhere(void) {
    for (size_t state = 0; state < sizeof occ_next / sizeof *occ_next; state++)
        for (size_t event = 0; event < sizeof *occ_next; event++)
            CHECK(!is(occ_state_text(occ_next[state][event]), "?"));
    CHECK(occ_next[OCC_STATE_STANDBY][OCC_EVENT_CONFIGURE] == OCC_STATE_CONFIGURED);
    CHECK(occ_next[OCC_STATE_STANDBY][OCC_EVENT_START] == OCC_STATE_UNKNOWN);
    CHECK(occ_device_next[OCC_DEVICE_STATE_INITIALIZED][OCC_DEVICE_EVENT_BIND] == OCC_DEVICE_STATE_BOUND);
    CHECK(occ_device_on_the_way[OCC_DEVICE_EVENT_BIND] == OCC_DEVICE_STATE_BINDING);
}

static void test_wrong_uses_are_refused(void) {
    const struct occ_callbacks nothing = {.configure = NULL};
    occ_t* occ = (occ_t*)&failures;
    CHECK(occ_create_at(NULL, &nothing, NULL, "ipc://@x") == OCC_E_ARGUMENT);
    CHECK(occ_create_at(&occ, NULL, NULL, "ipc://@x") == OCC_E_ARGUMENT && occ == NULL);
    CHECK(occ_create_at(&occ, &nothing, NULL, "inproc://x") == OCC_E_ENDPOINT && occ == NULL);
    errno = 0;
    CHECK(occ_create_at(&occ, &nothing, NULL, "ipc:///nowhere/at/all") == OCC_E_BIND && errno == ENOENT && occ == NULL);
    CHECK(occ_run(NULL) == OCC_E_ARGUMENT);
    occ_destroy(NULL);
}

static int turns;

static int turn(occ_t* occ, void* user) {
    struct pollfd many[64];
    (void)user;
    turns++;
    CHECK(occ_wait(occ, many, 64, 0) == OCC_E_ARGUMENT);
    CHECK(occ_wait(occ, NULL, 1, 0) == OCC_E_ARGUMENT);
    CHECK(occ_wait(occ, NULL, 0, 0) == 0);
    CHECK(occ_pending(occ) == 0);
    occ_terminate(occ);
    CHECK(occ_pending(occ) == 1);
    CHECK(occ_wait(occ, NULL, 0, -1) == 1);
    return 0;
}

static void test_a_task_that_is_told_to_end_before_it_runs(void) {
    const struct occ_callbacks nothing = {.configure = NULL};
    char endpoint[64];
    occ_t* occ;
    snprintf(endpoint, sizeof endpoint, "ipc://@occ-test-%d", getpid());
    CHECK(occ_create_at(&occ, &nothing, NULL, endpoint) == 0);
    CHECK(is(occ_endpoint(occ), endpoint));
    CHECK(occ_current_state(occ) == OCC_STATE_STANDBY && occ_run_number(occ) == 0);
    occ_terminate(occ);
    CHECK(occ_run(occ) == 0);
    CHECK(occ_current_state(occ) == OCC_STATE_DONE);
    occ_destroy(occ);
}

static void test_a_check_ends_the_task(void) {
    const struct occ_callbacks checks = {.iterate_check = turn};
    char endpoint[64];
    occ_t* occ;
    snprintf(endpoint, sizeof endpoint, "ipc://@occ-test-check-%d", getpid());
    CHECK(occ_create_at(&occ, &checks, NULL, endpoint) == 0);
    CHECK(occ_run(occ) == 0);
    CHECK(turns == 1);
    occ_destroy(occ);
}

/* --- numbers and lines --------------------------------------------------------------------------------------- */

enum { THREADS = 4, SAMPLES = 5000 };

static void* tell(void* argument) {
    occ_t* occ = argument;
    for (int i = 0; i < SAMPLES; i++) {
        CHECK(occ_metric(occ, "shared", "V", i) == 0);
        CHECK(occ_log(occ, OCC_SEVERITY_DEBUG, "line %d", i) == 0);
    }
    return NULL;
}

static void test_any_thread_may_tell_and_no_sample_is_lost(void) {
    const struct occ_callbacks nothing = {.configure = NULL};
    static struct samples samples;
    char endpoint[64];
    pthread_t threads[THREADS];
    occ_t* occ;
    snprintf(endpoint, sizeof endpoint, "ipc://@occ-test-threads-%d", getpid());
    CHECK(occ_create_at(&occ, &nothing, NULL, endpoint) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, tell, occ) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    occ_telemetry_take(&occ->telemetry, false, &samples);
    CHECK(samples.count == 1 && samples.items[0].n == THREADS * SAMPLES);
    CHECK(samples.items[0].sum == THREADS * (double)SAMPLES * (SAMPLES - 1) / 2);
    CHECK(samples.items[0].min == 0 && samples.items[0].max == SAMPLES - 1);
    CHECK(is(samples.items[0].unit, "V"));
    CHECK(occ->telemetry.dropped == THREADS * SAMPLES - MAX_LINES);
    occ_destroy(occ);
}

static void test_what_is_told_wrongly_has_no_effect(void) {
    const struct occ_callbacks nothing = {.configure = NULL};
    static struct samples samples;
    char endpoint[64], name[128];
    struct line line;
    occ_t* occ;
    snprintf(endpoint, sizeof endpoint, "ipc://@occ-test-telling-%d", getpid());
    CHECK(occ_create_at(&occ, &nothing, NULL, endpoint) == 0);
    memset(name, 'x', sizeof name);
    name[64] = '\0';
    CHECK(occ_metric(NULL, "x", "", 1) == OCC_E_ARGUMENT);
    CHECK(occ_metric(occ, NULL, "", 1) == OCC_E_ARGUMENT);
    CHECK(occ_metric(occ, "", "", 1) == OCC_E_ARGUMENT);
    CHECK(occ_metric(occ, "x", NULL, 1) == OCC_E_ARGUMENT);
    CHECK(occ_metric(occ, name, "", 1) == OCC_E_ARGUMENT);
    CHECK(occ_metric(occ, "x", name, 1) == OCC_E_ARGUMENT);
    CHECK(occ_metric(occ, "\xff", "", 1) == OCC_E_ARGUMENT);
    CHECK(occ_metric(occ, "x", "", NAN) == OCC_E_VALUE);
    CHECK(occ_metric(occ, "x", "", INFINITY) == OCC_E_VALUE);
    CHECK(occ_log(NULL, OCC_SEVERITY_INFO, "x") == OCC_E_ARGUMENT);
    CHECK(occ_log(occ, (enum occ_severity)0, "x") == OCC_E_ARGUMENT);
    CHECK(occ_log(occ, (enum occ_severity)6, "x") == OCC_E_ARGUMENT);
    CHECK(!occ_telemetry_waits(&occ->telemetry) && !occ_telemetry_line(&occ->telemetry, &line));
    name[63] = '\0';
    for (int i = 0; i < OCC_MAX_METRICS; i++) {
        name[0] = (char)('0' + i);
        CHECK(occ_metric(occ, name, "", 1) == 0);
    }
    CHECK(occ_metric(occ, "one more", "", 1) == OCC_E_SPACE);
    CHECK(occ_metric(occ, name, "", 2) == 0);
    occ_telemetry_take(&occ->telemetry, false, &samples);
    CHECK(samples.count == OCC_MAX_METRICS);
    CHECK(occ_metric(occ, "one more", "", 1) == OCC_E_SPACE); /* names stay */
    occ_telemetry_return(&occ->telemetry, &samples.items[OCC_MAX_METRICS - 1]);
    occ_telemetry_take(&occ->telemetry, false, &samples);
    CHECK(samples.count == 1 && samples.items[0].n == 2 && samples.items[0].sum == 3 && samples.items[0].last == 2);
    occ_destroy(occ);
}

static void test_a_text_of_several_lines_is_several_lines(void) {
    const struct occ_callbacks nothing = {.configure = NULL};
    static struct line line;
    static char text[8000];
    char endpoint[64];
    occ_t* occ;
    snprintf(endpoint, sizeof endpoint, "ipc://@occ-test-lines-%d", getpid());
    CHECK(occ_create_at(&occ, &nothing, NULL, endpoint) == 0);
    CHECK(occ_log(occ, OCC_SEVERITY_ERROR, "a\n\nb \xff\n") == 0);
    static const char* const expected[] = {"a", "", "b ?"};
    for (int i = 0; i < 3; i++) {
        CHECK(occ_telemetry_line(&occ->telemetry, &line) && is(line.text, expected[i]));
        CHECK(line.severity == OCC_SEVERITY_ERROR);
    }
    memset(text, 'y', sizeof text - 1);
    CHECK(occ_log(occ, OCC_SEVERITY_INFO, "%s", text) == 0);
    CHECK(occ_telemetry_line(&occ->telemetry, &line) && strlen(line.text) == OCC_MAX_LINE_BYTES);
    CHECK(!occ_telemetry_line(&occ->telemetry, &line));
    occ_destroy(occ);
}

int main(void) {
    test_properties_are_found();
    test_of_equal_keys_the_last_holds();
    test_a_nul_inside_is_an_error();
    test_no_properties();
    test_values_have_types();
    test_later_layers_hold_and_the_walk_shows_each_key_once();
    test_a_subtree_is_walked_by_its_prefix();
    test_changes_lie_on_top_of_what_was_there();
    test_names();
    test_the_table_has_no_way_to_nowhere();
    test_wrong_uses_are_refused();
    test_a_task_that_is_told_to_end_before_it_runs();
    test_a_check_ends_the_task();
    test_any_thread_may_tell_and_no_sample_is_lost();
    test_what_is_told_wrongly_has_no_effect();
    test_a_text_of_several_lines_is_several_lines();
    return failures > 0;
}
