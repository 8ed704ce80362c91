#include "vrs-server/inquiries/allow_list.h"

#include <stdlib.h>
#include <string.h>

#include "lib/json.h"

/* As it is looked through with each inquiry; borrowed from the document. */
struct entry {
    const char *business, *asker, *provider; /* "*": any */
    const char *from, *to;                   /* days; to NULL: for ever */
    const json_t *items;
};

struct allow_list {
    json_t *document;
    struct entry *entries;
    size_t count;
    uint64_t version;
};

/* How particular an entry is: the asker weighs more than the provider. */
enum { NAMES_PROVIDER = 1, NAMES_ASKER = 2 };

static const char *text_of(const json_t *row, const char *name) {
    const char *s = json_string_value(json_object_get(row, name));
    return s != NULL ? s : "";
}

static bool is_day(const json_t *v) {
    struct civil_date d;
    return json_is_string(v) && clock_parse_date(json_string_value(v), &d) == VRS_OK;
}

static bool is_partner(const char *s) {
    return strcmp(s, "*") == 0 || (strlen(s) == 6 && strspn(s, "0123456789") == 6);
}

static bool good_row(const json_t *row) {
    const json_t *to = json_object_get(row, "to"), *items = json_object_get(row, "items"), *item;
    const char *note;
    const json_t *v;
    static const char *const known[] = {"business", "asker", "provider", "from",
                                        "to",       "items", "confirmed"};
    json_object_foreach((json_t *)(uintptr_t)row, note, v) {
        bool any = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            any |= strcmp(note, known[i]) == 0;
        if (!any)
            return false; /* a word that is not understood may have been a restriction */
    }
    size_t i;
    json_array_foreach(items, i, item) {
        if (!json_is_string(item))
            return false;
    }
    return json_is_array(items) && text_of(row, "business")[0] != '\0' &&
           is_partner(text_of(row, "asker")) && is_partner(text_of(row, "provider")) &&
           is_day(json_object_get(row, "from")) && (to == NULL || json_is_null(to) || is_day(to));
}

static struct entry entry_of(const json_t *row) {
    return (struct entry){.business = text_of(row, "business"),
                          .asker = text_of(row, "asker"),
                          .provider = text_of(row, "provider"),
                          .from = text_of(row, "from"),
                          .to = json_string_value(json_object_get(row, "to")),
                          .items = json_object_get(row, "items")};
}

enum vrs_err allow_list_read(const void *text, size_t len, struct allow_list **out,
                             struct vrs_fault *fault) {
    struct allow_list *l = calloc(1, sizeof *l);
    *out = l;
    if (l == NULL)
        return err_fail(fault, ERR_MEMORY, "allow-list");
    enum vrs_err e = json_parse(text, len, &l->document, fault);
    const json_t *rows = json_object_get(l->document, "entries"), *row;
    json_int_t version = json_integer_value(json_object_get(l->document, "version"));
    if (e == VRS_OK && strcmp(text_of(l->document, "format"), "vrs-allow-list/1") != 0)
        e = err_fail(fault, ERR_CONFIG, "allow-list: format is not vrs-allow-list/1");
    else if (e == VRS_OK && version < 1)
        e = err_fail(fault, ERR_CONFIG, "allow-list: no version");
    else if (e == VRS_OK && !json_is_array(rows))
        e = err_fail(fault, ERR_CONFIG, "allow-list: no entries");
    size_t i;
    if (e == VRS_OK && (l->entries = calloc(json_array_size(rows) + 1, sizeof *l->entries)) == NULL)
        e = err_fail(fault, ERR_MEMORY, "allow-list");
    if (l->entries != NULL) {
        json_array_foreach(rows, i, row) {
            if (e == VRS_OK && !good_row(row))
                e = err_fail(fault, ERR_CONFIG, "allow-list: entry %zu is not understood", i + 1);
            l->entries[l->count++] = entry_of(row);
        }
    }
    l->version = (uint64_t)version;
    if (e != VRS_OK)
        allow_list_close(out);
    return e;
}

enum vrs_err allow_list_open(const void *body, size_t len, const uint8_t key[CRYPTO_ED25519_BYTES],
                             struct allow_list **out, struct vrs_fault *fault) {
    json_t *doc = NULL;
    const char *base64 = NULL, *text = NULL;
    uint8_t signature[CRYPTO_SIGNATURE_BYTES];
    size_t n = 0;
    const struct json_field fields[] = {JF_STR("signature", true, 128, &base64),
                                        JF_STR("allow_list", true, ALLOW_LIST_MAX_BYTES, &text),
                                        JF_END};
    *out = NULL;
    enum vrs_err e = json_parse(body, len, &doc, fault);
    if (e == VRS_OK)
        e = json_read(doc, fields, fault);
    if (e == VRS_OK &&
        (!crypto_unbase64(base64, signature, sizeof signature, &n) || n != sizeof signature ||
         crypto_verify(key, text, strlen(text), signature) != VRS_OK))
        e = err_fail(fault, ERR_CONFIG, "allow-list: the signature does not verify");
    if (e == VRS_OK)
        e = allow_list_read(text, strlen(text), out, fault);
    json_decref(doc);
    return e;
}

enum vrs_err allow_list_sign(const void *text, size_t len, const struct secret_key *key,
                             struct buffer *out, struct vrs_fault *fault) {
    struct allow_list *l = NULL;
    uint8_t signature[CRYPTO_SIGNATURE_BYTES];
    char base64[4 * ((CRYPTO_SIGNATURE_BYTES + 2) / 3) + 1];
    struct buffer compact;
    enum vrs_err e = allow_list_read(text, len, &l, fault);
    if (e != VRS_OK)
        return e;
    buffer_init(&compact, ALLOW_LIST_MAX_BYTES); /* one line: what is signed holds no line ends */
    json_t *doc = NULL;
    if (!json_write(&compact, l->document))
        e = err_fail(fault, ERR_MEMORY, "allow-list");
    if (e == VRS_OK)
        e = crypto_sign(key, compact.data, compact.len, signature);
    if (e == VRS_OK) {
        crypto_base64(signature, sizeof signature, base64);
        doc = json_pack("{s:s,s:s}", "signature", base64, "allow_list", buffer_cstr(&compact));
        if (doc == NULL || !json_write(out, doc))
            e = err_fail(fault, ERR_MEMORY, "allow-list");
    }
    json_decref(doc);
    buffer_fini(&compact);
    allow_list_close(&l);
    return e;
}

void allow_list_close(struct allow_list **l) {
    if (*l == NULL)
        return;
    json_decref((*l)->document);
    free((*l)->entries);
    free(*l);
    *l = NULL;
}

uint64_t allow_list_version(const struct allow_list *l) {
    return l != NULL ? l->version : 0;
}

static bool lists(const json_t *items, const char *item) {
    size_t i;
    const json_t *v;
    json_array_foreach(items, i, v) {
        if (strcmp(json_string_value(v), item) == 0)
            return true;
    }
    return false;
}

/* -1: the entry says nothing about this pair, or not today. */
static int particular(const struct entry *x, const char *business, const char *asker,
                      const char *provider, const char *day) {
    bool any_asker = strcmp(x->asker, "*") == 0, any_provider = strcmp(x->provider, "*") == 0;
    if (strcmp(x->business, business) != 0 || (!any_asker && strcmp(x->asker, asker) != 0) ||
        (!any_provider && strcmp(x->provider, provider) != 0) || strcmp(x->from, day) > 0 ||
        (x->to != NULL && strcmp(day, x->to) > 0))
        return -1;
    return (any_asker ? 0 : NAMES_ASKER) + (any_provider ? 0 : NAMES_PROVIDER);
}

enum vrs_err allow_list_permits(const struct allow_list *l, const char *business, const char *asker,
                                const char *provider, const char *item, struct civil_date on) {
    char day[11];
    int most = -1;
    bool permitted = false;
    clock_format_date(on, day);
    for (size_t i = 0; l != NULL && i < l->count; i++) {
        int weight = particular(&l->entries[i], business, asker, provider, day);
        if (weight < 0 || weight < most)
            continue;
        const json_t *items = l->entries[i].items;
        bool here = item != NULL ? lists(items, item) : json_array_size(items) > 0;
        permitted = here || (permitted && weight == most);
        most = weight;
    }
    return permitted ? VRS_OK : ERR_NOT_ON_ALLOW_LIST;
}
