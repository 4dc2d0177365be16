#include "handle.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int compare(const void* a, const void* b) {
    return strcmp(((const struct property*)a)->key, ((const struct property*)b)->key);
}

/* Copy a text behind *to, with NUL. Returns false if it holds one itself. */
static bool copy_text(char** to, struct occ_text text, const char** copy) {
    if (text.size > 0 && memchr(text.bytes, '\0', text.size) != NULL)
        return false;
    *copy = *to;
    if (text.size > 0)
        memcpy(*to, text.bytes, text.size);
    (*to)[text.size] = '\0';
    *to += text.size + 1;
    return true;
}

int occ_properties_make(struct occ_map map, struct properties** properties) {
    size_t table_bytes = sizeof(struct properties) + map.count * sizeof(struct property);
    /* A packed text takes at least one byte more than its characters: the copies with NUL fit in as many bytes. */
    struct properties* made = malloc(table_bytes + map.size);
    if (made == NULL)
        return OCC_E_MEMORY;
    char* to = (char*)made + table_bytes;
    size_t count = 0;
    struct occ_text key, value;
    while (occ_wire_next_pair(&map, &key, &value)) {
        struct property* item = &made->items[count++];
        if (!copy_text(&to, key, &item->key) || !copy_text(&to, value, &item->value)) {
            free(made);
            return OCC_E_VALUE;
        }
    }
    /* Controllers send each key once. Should one come twice, the later copy lies higher in memory, and it is put behind. */
    qsort(made->items, count, sizeof *made->items, compare);
    made->count = 0;
    for (size_t i = 0; i < count; i++) {
        struct property* last = made->count > 0 ? &made->items[made->count - 1] : NULL;
        if (last == NULL || strcmp(last->key, made->items[i].key) != 0)
            made->items[made->count++] = made->items[i];
        else if (made->items[i].value > last->value)
            *last = made->items[i];
    }
    *properties = made;
    return 0;
}

/* Copy one property behind *to. */
static void copy_property(struct properties* into, char** to, const struct property* item) {
    const size_t key_size = strlen(item->key) + 1, value_size = strlen(item->value) + 1;
    char* key = *to;
    char* value = key + key_size;
    memcpy(key, item->key, key_size);
    memcpy(value, item->value, value_size);
    *to = value + value_size;
    into->items[into->count++] = (struct property){key, value};
}

static size_t text_bytes(const struct properties* properties) {
    size_t size = 0;
    for (size_t i = 0; i < properties->count; i++)
        size += strlen(properties->items[i].key) + strlen(properties->items[i].value) + 2;
    return size;
}

struct properties* occ_properties_merge(const struct properties* under, const struct properties* over) {
    static const struct properties nothing = {.count = 0};
    if (under == NULL)
        under = &nothing;
    size_t table_bytes = sizeof(struct properties) + (under->count + over->count) * sizeof(struct property);
    struct properties* merged = malloc(table_bytes + text_bytes(under) + text_bytes(over));
    if (merged == NULL)
        return NULL;
    merged->count = 0;
    char* to = (char*)merged + table_bytes;
    for (size_t i = 0, j = 0; i < under->count || j < over->count;) {
        int order = i == under->count ? 1 : j == over->count ? -1 : strcmp(under->items[i].key, over->items[j].key);
        copy_property(merged, &to, order < 0 ? &under->items[i] : &over->items[j]);
        i += order <= 0;
        j += order >= 0;
    }
    return merged;
}

const char* occ_properties_find(const struct properties* properties, const char* key) {
    if (properties == NULL)
        return NULL;
    struct property wanted = {key, NULL};
    const struct property* found =
        bsearch(&wanted, properties->items, properties->count, sizeof *properties->items, compare);
    return found != NULL ? found->value : NULL;
}

/* --- what callbacks ask for: the layers, the latest first ----------------------------------------------------- */

const char* occ_property(const occ_t* occ, const char* key, const char* fallback) {
    for (int i = LAYERS - 1; i >= 0; i--) {
        const char* value = occ_properties_find(occ->layers[i], key);
        if (value != NULL)
            return value;
    }
    return fallback;
}

int occ_changed(const occ_t* occ, const char* key) {
    return occ->event == OCC_EVENT_RECONFIGURE && occ_properties_find(occ->layers[LAYERS - 1], key) != NULL;
}

int occ_property_int(const occ_t* occ, const char* key, int64_t* value) {
    const char* text = occ_property(occ, key, NULL);
    char* end;
    if (text == NULL)
        return OCC_E_NOT_FOUND;
    errno = 0;
    long long number = strtoll(text, &end, 0);
    if (end == text || *end != '\0' || errno != 0)
        return OCC_E_VALUE;
    *value = number;
    return 0;
}

int occ_property_float(const occ_t* occ, const char* key, double* value) {
    const char* text = occ_property(occ, key, NULL);
    char* end;
    if (text == NULL)
        return OCC_E_NOT_FOUND;
    double number = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(number))
        return OCC_E_VALUE;
    *value = number;
    return 0;
}

int occ_property_bool(const occ_t* occ, const char* key, bool* value) {
    static const char* const words[][2] = {{"false", "true"}, {"no", "yes"}, {"off", "on"}, {"0", "1"}};
    const char* text = occ_property(occ, key, NULL);
    if (text == NULL)
        return OCC_E_NOT_FOUND;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        for (int truth = 0; truth < 2; truth++)
            if (strcasecmp(text, words[i][truth]) == 0) {
                *value = truth != 0;
                return 0;
            }
    return OCC_E_VALUE;
}

int occ_property_next(const occ_t* occ, size_t* cursor, const char** key, const char** value) {
    for (;; (*cursor)++) {
        size_t index = *cursor;
        int layer = 0;
        while (layer < LAYERS && (occ->layers[layer] == NULL || index >= occ->layers[layer]->count)) {
            index -= occ->layers[layer] != NULL ? occ->layers[layer]->count : 0;
            layer++;
        }
        if (layer == LAYERS)
            return OCC_E_NOT_FOUND;
        const struct property* item = &occ->layers[layer]->items[index];
        if (occ_property(occ, item->key, NULL) != item->value)
            continue; /* a later layer holds */
        (*cursor)++;
        *key = item->key;
        *value = item->value;
        return 0;
    }
}

int occ_property_under(const occ_t* occ, const char* prefix, size_t* cursor, const char** key, const char** value) {
    size_t size = strlen(prefix);
    while (occ_property_next(occ, cursor, key, value) == 0)
        if (strncmp(*key, prefix, size) == 0 && (*key)[size] == '.' && (*key)[size + 1] != '\0') {
            *key += size + 1;
            return 0;
        }
    return OCC_E_NOT_FOUND;
}
