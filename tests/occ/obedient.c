/* A task for tests: it does what its properties say, and writes a line into $TRACE at each call.
 *
 *     fail=MOMENT       the callback of that name fails        hang=MOMENT   it hangs until $RELEASE exists
 *     leave=MOMENT      it calls exit(3)                       die=MOMENT    it calls _exit(4)
 *     end_after=N       END_OF_STREAM at turn N                show=KEY      each line ends with the value of KEY
 *     break_after=N     iterate_running fails at turn N        busy=yes      iterate_running does not wait
 *     tell=yes          each callback tells a line and a metric of its name; iterate_running the metric `turns`
 *     flood=N           configure tells N lines and N samples of one metric      names=N    and N metrics
 *
 * With $RIGID in its environment it has no callback for RECONFIGURE. */
#include <occ/occ.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Tell more than is decent. */
static void flood(occ_t* occ) {
    int64_t flood = 0, names = 0;
    int refused = 0;
    char name[32];
    occ_property_int(occ, "flood", &flood);
    occ_property_int(occ, "names", &names);
    for (int64_t i = 0; i < flood; i++) {
        occ_log(occ, OCC_SEVERITY_DEBUG, "line %d", (int)i);
        occ_metric(occ, "flood", "Hz", (double)i);
    }
    for (int64_t i = 0; i < names; i++) {
        snprintf(name, sizeof name, "name-%d", (int)i);
        refused += occ_metric(occ, name, "", 1) == OCC_E_SPACE;
    }
    if (names > 0)
        occ_log(occ, OCC_SEVERITY_WARNING, "refused %d", refused);
}

static int at(occ_t* occ, const char* moment, const char* more) {
    FILE* trace = fopen(getenv("TRACE"), "ae");
    if (trace == NULL)
        return occ_fail(occ, "no trace");
    fprintf(trace, "%s%s", moment, more);
    if (occ_property(occ, "show", NULL) != NULL)
        fprintf(trace, " %s", occ_property(occ, occ_property(occ, "show", ""), "?"));
    fputc('\n', trace);
    fclose(trace);
    if (strcmp(occ_property(occ, "tell", ""), "yes") == 0) {
        occ_metric(occ, moment, "", 1);
        occ_log(occ, OCC_SEVERITY_INFO, "at %s", moment);
    }
    while (strcmp(occ_property(occ, "hang", ""), moment) == 0 && access(getenv("RELEASE"), F_OK) != 0)
        usleep(1000);
    if (strcmp(occ_property(occ, "leave", ""), moment) == 0)
        exit(3);
    if (strcmp(occ_property(occ, "die", ""), moment) == 0)
        _exit(4);
    if (strcmp(occ_property(occ, "fail", ""), moment) == 0)
        return occ_fail(occ, "told to fail in %s", moment);
    return strcmp(occ_property(occ, "fail_silently", ""), moment) == 0 ? 7 : 0;
}

static int configure(occ_t* occ, void* user) {
    (void)user;
    flood(occ);
    return at(occ, "configure", "");
}

static int reset(occ_t* occ, void* user) {
    (void)user;
    return at(occ, "reset", "");
}

static int recover(occ_t* occ, void* user) {
    (void)user;
    return at(occ, "recover", "");
}

static int start(occ_t* occ, void* user, uint32_t run) {
    char text[32];
    *(int64_t*)user = 0;
    snprintf(text, sizeof text, " %u", run);
    return at(occ, "start", text);
}

static int stop(occ_t* occ, void* user) {
    (void)user;
    return at(occ, "stop", "");
}

static int hold(occ_t* occ, void* user) {
    (void)user;
    return at(occ, "pause", "");
}

static int go_on(occ_t* occ, void* user) {
    (void)user;
    return at(occ, "resume", "");
}

static int leave(occ_t* occ, void* user) {
    (void)user;
    return at(occ, "exit", "");
}

static int change(occ_t* occ, void* user) {
    (void)user;
    return at(occ, "reconfigure", occ_changed(occ, "show") ? " show" : "");
}

static int iterate_running(occ_t* occ, void* user) {
    int64_t turn = ++*(int64_t*)user;
    int64_t end_after = 0, break_after = 0;
    bool busy = false;
    occ_property_int(occ, "end_after", &end_after);
    occ_property_int(occ, "break_after", &break_after);
    occ_property_bool(occ, "busy", &busy);
    if (strcmp(occ_property(occ, "tell", ""), "yes") == 0)
        occ_metric(occ, "turns", "turns", 1);
    if (turn == end_after)
        return OCC_END_OF_STREAM;
    if (turn == break_after)
        return occ_fail(occ, "broke at turn %d \xff", (int)turn); /* not UTF-8: it must reach the controller as text */
    if (strcmp(occ_property(occ, "hang", ""), "running") == 0)
        return at(occ, "running", "");
    if (!busy)
        occ_wait(occ, NULL, 0, 5);
    return 0;
}

static int iterate_check(occ_t* occ, void* user) {
    (void)user;
    return access(getenv("ILL"), F_OK) == 0 ? occ_fail(occ, "ill") : 0;
}

int main(void) {
    int64_t turn = 0;
    const struct occ_callbacks callbacks = {.configure = configure,
                                            .reset = reset,
                                            .recover = recover,
                                            .start = start,
                                            .stop = stop,
                                            .pause = hold,
                                            .resume = go_on,
                                            .exit = leave,
                                            .reconfigure = change,
                                            .iterate_running = iterate_running,
                                            .iterate_check = iterate_check};
    struct occ_callbacks rigid = callbacks;
    rigid.reconfigure = NULL;
    occ_t* occ;
    int status = occ_create(&occ, getenv("RIGID") != NULL ? &rigid : &callbacks, &turn);
    if (status != 0) {
        fprintf(stderr, "%s\n", occ_error_text(status));
        return 1;
    }
    status = occ_run(occ);
    occ_destroy(occ);
    return status == 0 ? 0 : 1;
}
