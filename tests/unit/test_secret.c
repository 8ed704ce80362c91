// needs: -Wl,--wrap=free
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <jansson.h>
#include <malloc.h>
#include <openssl/crypto.h>

#include "lib/secret.h"

static void wiped_and_compared(void **state) {
    (void)state;
    struct secret_key a, b;
    memset(&a, 7, sizeof a);
    b = a;
    assert_true(secret_equal(&a, &b, sizeof a));
    b.bytes[31] ^= 1;
    assert_false(secret_equal(&a, &b, sizeof a));
    secret_wipe(&a, sizeof a);
    for (size_t i = 0; i < sizeof a; i++)
        assert_int_equal(a.bytes[i], 0);
    assert_true(secret_equal(&a, &b, 0));
    secret_wipe(NULL, 0);
}

/* The kernel's own word for each mapping: dd = not in a core dump, lo = locked. */
static bool mapping_has(const void *p, const char *flag) {
    FILE *f = fopen("/proc/self/smaps", "re");
    assert_non_null(f);
    char line[512];
    bool inside = false, found = false;
    while (fgets(line, sizeof line, f) != NULL && !found) {
        char *dash = NULL;
        uintptr_t from = strtoull(line, &dash, 16);
        if (*dash == '-') {
            uintptr_t to = strtoull(dash + 1, NULL, 16);
            inside = (uintptr_t)p >= from && (uintptr_t)p < to;
        }
        if (inside && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, flag) != NULL;
    }
    assert_int_equal(fclose(f), 0);
    return found;
}

static void long_lived_keys_stay_out_of_dumps(void **state) {
    (void)state;
    uint8_t *p = secret_alloc(5000);
    assert_non_null(p);
    assert_int_equal(p[4999], 0);
    memset(p, 1, 5000);
    assert_true(mapping_has(p, " dd"));
    assert_false(mapping_has(state, " dd"));
    secret_free(p, 5000);
    secret_free(NULL, 10);
    assert_null(secret_alloc(SIZE_MAX));
}

/* Looks at what lib/secret.c gives back to libc. */
static const char canary[] = "canary of a personal number";
static size_t freed, unwiped;

void __real_free(void *p);
void __wrap_free(void *p);
void __wrap_free(void *p) {
    if (p != NULL) {
        freed++;
        if (memmem(p, malloc_usable_size(p), canary, sizeof canary - 1) != NULL)
            unwiped++;
    }
    __real_free(p);
}

static void what_libraries_free_is_wiped(void **state) {
    (void)state;
    /* The control: the look finds what is not wiped. */
    void (*volatile give_back)(void *) = free; /* or the compiler leaves the pair out */
    char *plain = strdup(canary);
    assert_non_null(plain);
    unwiped = 0;
    give_back(plain);
    assert_int_equal(unwiped, 1);

    freed = unwiped = 0;
    json_t *o = json_pack("{s:s}", "name", canary);
    assert_non_null(o);
    json_decref(o);
    assert_true(freed > 0);
    assert_int_equal(unwiped, 0);

    freed = 0;
    char *p = OPENSSL_malloc(100);
    assert_non_null(p);
    memcpy(p, canary, sizeof canary);
    p = OPENSSL_realloc(p, 100000);
    assert_string_equal(p, canary);
    p = OPENSSL_realloc(p, sizeof canary);
    assert_string_equal(p, canary);
    OPENSSL_free(p);
    assert_int_equal(freed, 3);
    assert_int_equal(unwiped, 0);
}

int main(void) {
    secret_install_allocators();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wiped_and_compared),
        cmocka_unit_test(long_lived_keys_stay_out_of_dumps),
        cmocka_unit_test(what_libraries_free_is_wiped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
