#include "properties.h"

#include <stdlib.h>
#include <string.h>

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

const char* occ_properties_find(const struct properties* properties, const char* key) {
    if (properties == NULL)
        return NULL;
    struct property wanted = {key, NULL};
    const struct property* found =
        bsearch(&wanted, properties->items, properties->count, sizeof *properties->items, compare);
    return found != NULL ? found->value : NULL;
}
