// needs: vrs-server/terminals/enrolment.c vrs-server/terminals/terminal.c vrs-server/right.c
/* Codes, enrolment and renewal in a registry, with a signer that signs anything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/pki.h"
#include "tests/lib/room.h"
#include "vrs-server/terminals/enrolment.h"

static char folder[64];
static unsigned signed_count;
static enum vrs_err signer_says;
static int signer_days = 365;

/* The real one is another process. */
enum vrs_err signer_cert(struct signer_client *c, const struct signer_cert *what,
                         struct buffer *out, char serial[48], int64_t *not_after_ms) {
    struct vrs_fault fault;
    char cert[128], key[128], text[4096];
    const struct pki_subject subject = {
        .name = what->name, .municipality = what->municipality, .kind = what->kind};
    (void)c;
    if (signer_says != VRS_OK)
        return signer_says;
    signed_count++;
    (void)snprintf(cert, sizeof cert, "%s/%u.pem", folder, signed_count);
    (void)snprintf(key, sizeof key, "%s/%u.key", folder, signed_count);
    char ca[128], ca_key[128];
    (void)snprintf(ca, sizeof ca, "%s/ca.pem", folder);
    (void)snprintf(ca_key, sizeof ca_key, "%s/ca.key", folder);
    room_ok(pki_make_cert(ca, ca_key, &subject, NULL, signer_days, cert, key, &fault));
    room_ok(pki_cert_info(cert, serial, not_after_ms, &fault));
    FILE *f = fopen(cert, "re");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text, f);
    (void)fclose(f);
    return buffer_put(out, text, n) ? VRS_OK : ERR_MEMORY;
}

static int set_up(void **state) {
    struct vrs_fault fault;
    char cert[128], key[128];
    if (room_set_up(state) != 0)
        return -1;
    (void)snprintf(folder, sizeof folder, "/tmp/test_enrolment.XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    (void)snprintf(cert, sizeof cert, "%s/ca.pem", folder);
    (void)snprintf(key, sizeof key, "%s/ca.key", folder);
    signed_count = 0;
    signer_says = VRS_OK;
    signer_days = 365;
    return pki_make_ca(cert, key, "terminals", 400, &fault) == VRS_OK ? 0 : -1;
}

static int tear_down(void **state) {
    char command[96];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) == 0 ? room_tear_down(state) : -1;
}

static char request_text[2][4096];

static const char *request_of(const char *device) {
    static unsigned turn;
    struct vrs_fault fault;
    struct buffer b;
    char key[128];
    char *out = request_text[turn++ % 2];
    (void)snprintf(key, sizeof key, "%s/%s.key", folder, device);
    buffer_init(&b, 4095);
    room_ok(pki_make_request(key, device, &b, &fault));
    memcpy(out, b.data, b.len);
    out[b.len] = '\0';
    buffer_fini(&b);
    return out;
}

static void code_for(const char *name, char code[ENROLMENT_CODE_SIZE]) {
    struct enrolment e = {.kind = "tablet", .municipality = "131032", .made_by = "chief"};
    (void)snprintf(e.name, sizeof e.name, "%s", name);
    room_ok(enrolment_make(room.partition, &e, 60, code));
}

static enum vrs_err use(const char *code, const char *request, struct enrolment_result *out) {
    room_ok(enrolment_use(room.partition, NULL, code, request, out));
    return out->refusal;
}

static void codes_are_read_as_people_write_them(void **state) {
    char code[ENROLMENT_CODE_SIZE], plain[21], again[21];
    (void)state;
    code_for("t1", code);
    assert_int_equal(strlen(code), 23);
    assert_true(enrolment_code_plain(code, plain));
    assert_int_equal(strlen(plain), 20);
    for (size_t i = 0; i < 20; i++) { /* every single wrong character shows */
        char wrong[21];
        memcpy(wrong, plain, sizeof wrong);
        wrong[i] = plain[i] == 'Z' ? 'Y' : 'Z';
        assert_false(enrolment_code_plain(wrong, again));
    }
    static const char *const bad[] = {
        "", "0", "0000-0000", "00000000000000000000 0", "UUUUUUUUUUUUUUUUUUUU", "あ"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(enrolment_code_plain(bad[i], again));
    assert_true(enrolment_code_plain("o0o0o-00000-00000-00000", again));
    assert_string_equal(again, "00000000000000000000");
}

static void one_code_one_device(void **state) {
    static struct enrolment_result r;
    struct terminal t;
    char code[ENROLMENT_CODE_SIZE], first[ENROLMENT_CERT_MAX];
    (void)state;
    code_for("t1", code);
    assert_int_equal(use(code, "no request", &r), ERR_BAD_FIELD);
    assert_int_equal(use(code, request_of("a"), &r), VRS_OK);
    memcpy(first, r.certificate, sizeof first);
    room_ok(terminal_by_serial(room.partition, r.terminal.serial, &t));
    assert_string_equal(t.name, "t1");
    assert_string_equal(t.municipality, "131032");
    assert_int_equal(strlen(t.key_hash), 64);
    assert_int_equal(use(code, request_of("a"), &r), VRS_OK);
    assert_true(r.repeated);
    assert_string_equal(r.certificate, first);
    assert_int_equal(use(code, request_of("b"), &r), ERR_ENROLMENT);
    assert_int_equal(signed_count, 1);
    struct enrolment again = {.kind = "tablet", .name = "t1", .municipality = "131032"};
    assert_int_equal(enrolment_make(room.partition, &again, 60, code), ERR_CONFLICT);
}

static void a_signer_that_is_away_uses_no_code(void **state) {
    static struct enrolment_result r;
    char code[ENROLMENT_CODE_SIZE];
    (void)state;
    code_for("t1", code);
    signer_says = ERR_SIGNER_AWAY;
    assert_int_equal(enrolment_use(room.partition, NULL, code, request_of("a"), &r),
                     ERR_SIGNER_AWAY);
    signer_says = VRS_OK;
    assert_int_equal(use(code, request_of("a"), &r), VRS_OK);
}

static void guesses_close_a_code(void **state) {
    static struct enrolment_result r;
    static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    char code[ENROLMENT_CODE_SIZE], plain[21];
    (void)state;
    code_for("t1", code);
    assert_true(enrolment_code_plain(code, plain));
    for (int i = 0; i < ENROLMENT_TRIES; i++) {
        char guess[21];
        unsigned sum = 0;
        memcpy(guess, plain, sizeof guess);
        guess[10] =
            alphabet[((size_t)(strchr(alphabet, plain[10]) - alphabet) + 1 + (size_t)i) % 32];
        for (unsigned k = 0; k < 19; k++)
            sum += (2 * k + 1) * (unsigned)(strchr(alphabet, guess[k]) - alphabet);
        guess[19] = alphabet[sum % 32];
        assert_int_equal(use(guess, request_of("a"), &r), ERR_ENROLMENT);
    }
    assert_int_equal(use(code, request_of("a"), &r), ERR_ENROLMENT);
    assert_int_equal(signed_count, 0);
}

static void renewal_keeps_the_key(void **state) {
    static struct enrolment_result r, next;
    struct terminal old;
    char code[ENROLMENT_CODE_SIZE];
    (void)state;
    signer_days = 30; /* in its last sixty days: at any time */
    code_for("t1", code);
    assert_int_equal(use(code, request_of("a"), &r), VRS_OK);
    room_ok(enrolment_renew(room.partition, NULL, r.terminal.serial, request_of("b"), &next));
    assert_int_equal(next.refusal, ERR_ENROLMENT);
    room_ok(enrolment_renew(room.partition, NULL, "00ff", request_of("a"), &next));
    assert_int_equal(next.refusal, ERR_TERMINAL_REVOKED);
    room_ok(enrolment_renew(room.partition, NULL, r.terminal.serial, request_of("a"), &next));
    assert_int_equal(next.refusal, VRS_OK);
    assert_string_equal(next.terminal.name, "t1");
    assert_string_not_equal(next.terminal.serial, r.terminal.serial);
    room_ok(terminal_by_serial(room.partition, r.terminal.serial, &old));
    assert_true(old.works_until_ms > clock_now_ms());
    assert_int_equal(signed_count, 2);
    static struct enrolment_result again;
    room_ok(enrolment_renew(room.partition, NULL, r.terminal.serial, request_of("a"), &again));
    assert_string_equal(again.certificate, next.certificate);
    assert_int_equal(signed_count, 2);
    signer_days = 365;
    code_for("t2", code);
    assert_int_equal(use(code, request_of("c"), &r), VRS_OK);
    room_ok(enrolment_renew(room.partition, NULL, r.terminal.serial, request_of("c"), &next));
    assert_int_equal(next.refusal, ERR_TOO_MANY); /* new enough */
}

static void requests_prove_their_key(void **state) {
    char hash[65], other[65], broken[4096];
    (void)state;
    const char *a = request_of("a");
    room_ok(pki_request_key(a, strlen(a), hash));
    a = request_of("a"); /* signed anew: it may have another length */
    room_ok(pki_request_key(a, strlen(a), other));
    assert_string_equal(hash, other);
    const char *b = request_of("b");
    room_ok(pki_request_key(b, strlen(b), other));
    assert_string_not_equal(hash, other);
    memcpy(broken, b, strlen(b) + 1);
    char *at = strstr(broken, "\n-----END") - 12; /* in the signature */
    *at = *at == 'A' ? 'B' : 'A';
    assert_int_equal(pki_request_key(broken, strlen(broken), other), ERR_BAD_FIELD);
    assert_int_equal(pki_request_key("", 0, other), ERR_BAD_FIELD);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(codes_are_read_as_people_write_them),
        TEST(one_code_one_device),
        TEST(a_signer_that_is_away_uses_no_code),
        TEST(guesses_close_a_code),
        TEST(renewal_keeps_the_key),
        TEST(requests_prove_their_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
