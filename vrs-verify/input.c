/* What is given to the program: keys, signed heads, files; and what it says. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vrs-verify/verify.h"

enum { TEXT = 1000 };

static void say(const char *mark, const char *ja, const char *en, va_list args) {
    char first[TEXT], second[TEXT];
    va_list again;
    va_copy(again, args);
    (void)vsnprintf(first, sizeof first, ja, args);
    (void)vsnprintf(second, sizeof second, en, again);
    va_end(again);
    (void)printf("%s  %s / %s\n", mark, first, second);
}

void say_good(const char *ja, const char *en, ...) {
    va_list args;
    va_start(args, en);
    say("OK", ja, en, args);
    va_end(args);
}

void say_note(const char *ja, const char *en, ...) {
    va_list args;
    va_start(args, en);
    say("--", ja, en, args);
    va_end(args);
}

void say_bad(struct verifier *v, const char *ja, const char *en, ...) {
    va_list args;
    va_start(args, en);
    say("NG", ja, en, args);
    va_end(args);
    v->bad++;
}

/* A whole file, in *out. */
static bool file_read(struct verifier *v, const char *path, struct buffer *out) {
    FILE *f = fopen(path, "rb");
    bool good = f != NULL;
    while (good && !feof(f)) {
        char bytes[8192];
        size_t n = fread(bytes, 1, sizeof bytes, f);
        good = !ferror(f) && buffer_put(out, bytes, n);
    }
    if (f != NULL)
        (void)fclose(f);
    if (!good)
        say_bad(v, "%s を読めません。", "%s cannot be read.", path);
    return good;
}

bool key_read(struct verifier *v, const char *path) {
    struct vrs_fault fault = {0};
    enum vrs_err e = proof_keys_load(&v->keys, path, &fault);
    if (e == ERR_IO)
        say_bad(v, "%s を読めません。", "%s cannot be read.", path);
    else if (e != VRS_OK)
        say_bad(v, "%s は公開鍵ではありません。",
                "%s holds no public keys (64 hex digits each, or the answer of /v1/log/keys).",
                path);
    return e == VRS_OK;
}

json_t *file_json(struct verifier *v, const char *path) {
    struct buffer text;
    json_t *out = NULL;
    buffer_init(&text, VERIFY_MAX_FILE);
    if (file_read(v, path, &text) && json_parse(text.data, text.len, &out, NULL) != VRS_OK) {
        out = NULL;
        say_bad(v, "%s はJSONとして読めません。", "%s is no JSON.", path);
    }
    buffer_fini(&text);
    return out;
}

bool point_add(struct verifier *v, const struct log_signed_head *h, const char *source) {
    if (v->point_count == v->point_room) {
        size_t room = v->point_room == 0 ? 64 : 2 * v->point_room;
        struct point *grown = reallocarray(v->points, room, sizeof *grown);
        if (grown == NULL)
            return false;
        v->points = grown;
        v->point_room = room;
    }
    v->points[v->point_count++] = (struct point){.head = *h, .source = source};
    return true;
}

/* false: there is no head in it, or one that is none. */
static bool points_of(struct verifier *v, const json_t *one, const char *path) {
    static const char *const names[] = {"municipality_code", "epoch",  "size",     "root",
                                        "signed_at",         "key_id", "signature"};
    struct log_signed_head h;
    const json_t *list = json_is_array(one) ? one : json_object_get(one, "checkpoints");
    if (json_is_array(list)) {
        size_t i;
        const json_t *at;
        bool good = true;
        json_array_foreach(list, i, at) good = good && points_of(v, at, path);
        return good;
    }
    if (json_object_get(one, "proof") != NULL)
        one = json_object_get(one, "proof");
    json_t *head = json_object(); /* a proof has more members than its head */
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        (void)json_object_set(head, names[i], json_object_get(one, names[i]));
    bool good = proof_head_from_json(head, &h) == VRS_OK && point_add(v, &h, path);
    json_decref(head);
    return good;
}

bool points_read(struct verifier *v, const char *path) {
    struct buffer text;
    json_t *one = NULL;
    char *rest = NULL;
    bool good;
    buffer_init(&text, VERIFY_MAX_FILE);
    good = file_read(v, path, &text);
    if (good && json_parse(text.data, text.len, &one, NULL) == VRS_OK) {
        good = points_of(v, one, path);
        json_decref(one);
    } else if (good && buffer_cstr(&text) != NULL) {
        for (char *line = strtok_r((char *)text.data, "\n", &rest); good && line != NULL;
             line = strtok_r(NULL, "\n", &rest)) {
            good = json_parse(line, strlen(line), &one, NULL) == VRS_OK && points_of(v, one, path);
            json_decref(one);
            one = NULL;
        }
    }
    buffer_fini(&text);
    if (!good && v->bad == 0)
        say_bad(v, "%s に署名付きヘッドがありません。", "%s holds no signed head.", path);
    return good;
}
