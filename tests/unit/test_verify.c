// needs: vrs-verify/log.c vrs-verify/input.c vrs-verify/receipt.c
// needs: vrs-server/log/log_lines.c
/* C78, S3: the export of a log and the program that checks it, against each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

#include "lib/clock.h"
#include "partitions/log_tree.h"
#include "tests/lib/room.h"
#include "vrs-server/log/log_lines.h"
#include "vrs-verify/verify.h"

enum { LINES_MAX = 2000 };

static const struct log_actor clerk = {
    .user = "minato-01", .section = "保健予防課", .terminal = "LGWAN-0007", .source = "lgwan"};
static struct secret_key key;
static uint8_t public_key[CRYPTO_ED25519_BYTES];
static char said[1 << 16]; /* by the last verification */

static int set_up(void **state) {
    crypto_ed25519_keypair(&key, public_key);
    return room_set_up(state);
}

static int tear_down(void **state) {
    clock_use_file(NULL);
    return room_tear_down(state);
}

static void append(uint64_t n) {
    for (uint64_t i = 0; i < n; i++) {
        const struct merkle_hash commitment = {.bytes = {1, (uint8_t)i}};
        const struct log_entry e = {.actor = clerk,
                                    .act = "dose.record",
                                    .purpose = "vaccination_record",
                                    .result = "ok",
                                    .commitment = i % 3 == 0 ? &commitment : NULL};
        room_ok(access_log_append(room.partition, &e, NULL));
    }
    room_commit();
}

/* What vrs-signer does. */
static void sign(struct log_signed_head *h) {
    struct buffer text;
    struct log_head head;
    room_ok(access_log_head(room.partition, &head));
    memset(h, 0, sizeof *h);
    memcpy(h->municipality, "131032", 7);
    memcpy(h->epoch, head.epoch, sizeof h->epoch);
    h->size = head.size;
    h->root = head.root;
    h->signed_ms = clock_now_ms();
    proof_key_id(public_key, h->key_id);
    buffer_init(&text, 1000);
    proof_head_text(h, &text);
    assert_int_equal(crypto_sign(&key, text.data, text.len, h->signature), VRS_OK);
    buffer_fini(&text);
}

static const char *path(const char *name) {
    return stand_path(&room.stand, name);
}

static void write_file(const char *name, const void *p, size_t n) {
    FILE *f = fopen(path(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void export_to(const char *name, struct log_lines *what) {
    struct buffer out;
    uint64_t count = 0;
    buffer_init(&out, 64 << 20);
    room_ok(log_lines_settle(room.partition, what));
    room_ok(log_lines_write(room.partition, what, &out, &count));
    write_file(name, out.data, out.len);
    buffer_fini(&out);
}

static void checkpoint_to(const char *name, const struct log_signed_head *h) {
    json_t *v = proof_head_json(h);
    char *text = json_dumps(v, JSON_COMPACT);
    write_file(name, text, strlen(text));
    free(text);
    json_decref(v);
}

/* Runs the check as the program does; true when nothing is wrong. */
static bool verify(char *exports[], size_t count, const char *const checkpoints[]) {
    struct verifier v = {.keys.count = 1};
    char copies[8][256], *names[8];
    memcpy(v.keys.key[0], public_key, sizeof public_key);
    int out = dup(STDOUT_FILENO), file;
    (void)fflush(stdout);
    file = open(path("said"), O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(out >= 0 && file >= 0 && dup2(file, STDOUT_FILENO) >= 0);
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(copies[i], sizeof copies[i], "%s", path(exports[i]));
        names[i] = copies[i];
    }
    bool good = true;
    for (size_t i = 0; good && checkpoints != NULL && checkpoints[i] != NULL; i++)
        good = points_read(&v, path(checkpoints[i]));
    if (good)
        verify_log(&v, names, count);
    (void)fflush(stdout);
    assert_true(dup2(out, STDOUT_FILENO) >= 0);
    ssize_t n = pread(file, said, sizeof said - 1, 0);
    said[n > 0 ? n : 0] = '\0';
    (void)close(out);
    (void)close(file);
    (void)close(out);
    free(v.points);
    return v.bad == 0;
}

static bool verify_one(const char *export, const char *checkpoint) {
    char name[64];
    (void)snprintf(name, sizeof name, "%s", export);
    char *const names[] = {name};
    const char *const checkpoints[] = {checkpoint, NULL};
    return verify((char **)names, 1, checkpoints);
}

/* ---- an export as lines, to be changed */

static char *text;
static char *line[LINES_MAX];
static size_t lines;

static void read_lines(const char *name) {
    FILE *f = fopen(path(name), "rb");
    static char bytes[8 << 20];
    char *rest = NULL;
    assert_non_null(f);
    bytes[fread(bytes, 1, sizeof bytes - 1, f)] = '\0';
    assert_int_equal(fclose(f), 0);
    text = bytes;
    lines = 0;
    for (char *s = strtok_r(text, "\n", &rest); s != NULL; s = strtok_r(NULL, "\n", &rest)) {
        assert_true(lines < LINES_MAX);
        line[lines++] = s;
    }
}

static void write_lines(const char *name) {
    FILE *f = fopen(path(name), "wb");
    assert_non_null(f);
    for (size_t i = 0; i < lines; i++) {
        if (line[i] != NULL)
            assert_true(fprintf(f, "%s\n", line[i]) > 0);
    }
    assert_int_equal(fclose(f), 0);
}

static void flip_hex(char *at) {
    *at = *at == '0' ? '1' : '0';
}

static void an_untouched_log_verifies(void **state) {
    (void)state;
    struct log_signed_head early, head;
    struct log_lines what = {0};
    append(100);
    sign(&early);
    append(500);
    sign(&head);
    what.head = &head;
    export_to("all", &what);
    checkpoint_to("early", &early);
    checkpoint_to("head", &head);
    assert_true(verify_one("all", NULL));
    assert_non_null(strstr(said, "cut off at the end cannot be noticed"));
    assert_true(verify_one("all", "early"));
    assert_non_null(strstr(said, "entries 1 to 600 checked"));
    assert_true(verify_one("all", "head"));

    /* An excerpt: its place in the tree is proven, and a head before it by a consistency proof. */
    struct log_lines part = {.from = 301, .to = 400, .head = &head};
    export_to("part", &part);
    assert_true(verify_one("part", NULL));
    assert_false(verify_one("part", "early"));
    assert_non_null(strstr(said, "checkpoints=100"));
    part.checkpoint[part.checkpoints++] = 100;
    export_to("part", &part);
    assert_true(verify_one("part", "early"));
    early.root.bytes[0] ^= 1;
    checkpoint_to("early", &early);
    assert_false(verify_one("part", "early")); /* not signed */
    assert_non_null(strstr(said, "signature does not verify"));
}

static void files_go_on_from_one_another(void **state) {
    (void)state;
    struct log_signed_head first, second;
    append(300);
    sign(&first);
    struct log_lines a = {.to = 200, .head = &first}, b = {.from = 201};
    export_to("a", &a);
    append(300);
    sign(&second);
    b.head = &second;
    export_to("b", &b);
    char *const both[] = {"a", "b"}, *const back[] = {"b", "a"}, *const twice[] = {"a", "a"};
    assert_true(verify((char **)both, 2, NULL));
    assert_non_null(strstr(said, "entries 1 to 600 checked"));
    assert_false(verify((char **)back, 2, NULL));
    assert_false(verify((char **)twice, 2, NULL));
    /* The second goes on from a tree that is not the first's, though each verifies alone. */
    read_lines("a");
    (void)room_tear_down(NULL);
    (void)room_set_up(NULL);
    write_lines("a");
    append(600);
    sign(&second);
    export_to("b", &b);
    assert_true(verify_one("a", NULL));
    assert_true(verify_one("b", NULL));
    assert_false(verify((char **)both, 2, NULL));
    assert_non_null(strstr(said, "does not go on from the file before it"));
}

static void s3_every_change_of_an_export_is_found(void **state) {
    (void)state;
    struct log_signed_head early, head;
    append(20);
    sign(&early);
    append(30);
    sign(&head);
    struct log_lines what = {.head = &head};
    export_to("all", &what);
    checkpoint_to("early", &early);
    checkpoint_to("head", &head);
    read_lines("all");
    assert_int_equal(lines, 1 + 50 + 2);

    for (size_t i = 0; i < lines; i++) { /* each line gone, doubled, swapped */
        char *kept = line[i];
        line[i] = NULL;
        write_lines("bad");
        assert_false(verify_one("bad", NULL));
        line[i] = kept;
        char both[4096];
        (void)snprintf(both, sizeof both, "%s\n%s", kept, kept);
        line[i] = both;
        write_lines("bad");
        assert_false(verify_one("bad", NULL));
        line[i] = kept;
        if (i + 1 < lines) {
            line[i] = line[i + 1];
            line[i + 1] = kept;
            write_lines("bad");
            assert_false(verify_one("bad", NULL));
            line[i + 1] = line[i];
            line[i] = kept;
        }
    }
    for (size_t i = 1; i <= 50; i++) { /* one digit of any entry */
        char *hash = strstr(line[i], "entry_hash\":\"") + 13;
        flip_hex(hash + i);
        write_lines("bad");
        assert_false(verify_one("bad", NULL));
        char expected[64];
        (void)snprintf(expected, sizeof expected, "Among entries %d to %d", i <= 20 ? 1 : 21,
                       i <= 20 ? 20 : 50);
        assert_false(verify_one("bad", "early"));
        assert_non_null(strstr(said, expected)); /* the outside head narrows it down */
        read_lines("all");
    }
    char *commitment = strstr(line[1], "commitment\":\"");
    assert_non_null(commitment);
    flip_hex(commitment + 14);
    write_lines("bad");
    assert_false(verify_one("bad", NULL));
    read_lines("all");
    memcpy(strstr(line[7], "\"entry\":7"), "\"entry\":8", 9);
    write_lines("bad");
    assert_false(verify_one("bad", NULL));
    assert_non_null(strstr(said, "Entry 7 is missing"));
    write_lines("all_again");
}

/* Cutting the end off and showing an older head is a shorter log, for all that it says itself. */
static void s3_a_cut_end_needs_a_head_kept_outside(void **state) {
    (void)state;
    struct log_signed_head early, head;
    append(270);
    sign(&early);
    append(30);
    sign(&head);
    checkpoint_to("early", &early);
    checkpoint_to("head", &head);
    (void)room_raw("DELETE FROM access_log WHERE ord > 270");
    struct log_lines what = {.head = &early};
    export_to("cut", &what);
    assert_true(verify_one("cut", NULL)); /* the negative control */
    assert_true(verify_one("cut", "early"));
    assert_false(verify_one("cut", "head"));
    assert_non_null(strstr(said, "entries from 271 on are gone"));

    append(30); /* as long as before, another history; even with a head signed anew */
    struct log_signed_head forged;
    sign(&forged);
    what = (struct log_lines){.head = &forged};
    export_to("rewritten", &what);
    assert_true(verify_one("rewritten", NULL));
    assert_false(verify_one("rewritten", "head"));
    assert_non_null(strstr(said, "Among entries 1 to 300"));
    static const char *const both[] = {"early", "head", NULL};
    char *const names[] = {"rewritten"};
    assert_false(verify((char **)names, 1, both));
    assert_non_null(strstr(said, "Among entries 271 to 300"));
    append(1); /* longer than the head that is known */
    sign(&forged);
    what = (struct log_lines){.head = &forged};
    export_to("rewritten", &what);
    assert_false(verify_one("rewritten", "head"));
}

/* An operator with the file: what the export of the changed file says is not what was signed. */
static void s3_changes_of_the_file_are_found_from_outside(void **state) {
    (void)state;
    static const char *const changes[] = {
        "UPDATE access_log SET i1 = zeroblob(32) WHERE ord = 4",
        "UPDATE access_log SET i1 = (SELECT i1 FROM access_log WHERE ord = 1) WHERE ord = 2",
        "DELETE FROM access_log WHERE ord = 310",
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct log_signed_head head;
        append(310);
        sign(&head);
        checkpoint_to("head", &head);
        struct log_lines what = {.head = &head};
        export_to("all", &what);
        assert_true(verify_one("all", "head"));
        (void)room_raw(changes[i]);
        /* The rows as they are now, whatever the daemon that keeps them would say. */
        struct buffer out;
        uint64_t count = 0;
        struct log_lines again = {.from = 1, .to = 310, .head = &head};
        buffer_init(&out, 64 << 20);
        enum vrs_err e = log_lines_write(room.partition, &again, &out, &count);
        if (e == VRS_OK) {
            write_file("all", out.data, out.len);
            assert_false(verify_one("all", "head"));
        }
        buffer_fini(&out);
        (void)room_tear_down(NULL);
        (void)room_set_up(NULL);
    }
}

static void a_restore_is_told_from_a_fork(void **state) {
    (void)state;
    struct log_signed_head at50, at60, at70, head;
    struct log_head known;
    append(50);
    sign(&at50);
    append(10);
    sign(&at60);
    room_ok(access_log_head(room.partition, &known));
    append(10);
    sign(&at70);
    checkpoint_to("at50", &at50);
    checkpoint_to("at60", &at60);
    checkpoint_to("at70", &at70);
    (void)room_raw("DELETE FROM access_log WHERE ord > 50"); /* what a backup has */
    room_ok(access_log_open_epoch(room.partition, &clerk, "restored", &known));
    room_commit();
    append(40);
    sign(&head);
    struct log_lines what = {.head = &head};
    export_to("restored", &what);
    assert_true(verify_one("restored", NULL));
    assert_non_null(strstr(said, "restored from a backup of 50 entries; 10 were lost"));
    assert_true(verify_one("restored", "at50"));
    assert_true(verify_one("restored", "at60")); /* owned up to */
    assert_false(verify_one("restored", "at70"));
    assert_non_null(strstr(said, "does not own up to"));
    read_lines("restored"); /* another text than was committed to */
    char *known_size = strstr(line[51], "\\n60\\n");
    assert_non_null(known_size);
    known_size[2] = '7';
    write_lines("bad");
    assert_false(verify_one("bad", "at70"));
    assert_non_null(strstr(said, "Entry 51: its text is not what it commits to"));
}

static void c62_a_purged_start_verifies(void **state) {
    (void)state;
    struct log_signed_head early, head;
    struct civil_date day;
    char offset[256];
    uint64_t purged = 0;
    append(300);
    sign(&early);
    checkpoint_to("early", &early);
    struct log_signed_head inside = early;
    append(300);
    (void)inside;
    room_ok(access_log_purge_day(clock_now_ms(), LOG_KEEP_YEARS, &day));
    (void)snprintf(offset, sizeof offset, "%s", path("offset"));
    char text_of_offset[32];
    (void)snprintf(text_of_offset, sizeof text_of_offset, "%lld",
                   86400LL * (day.days - clock_today_jst().days + 1));
    write_file("offset", text_of_offset, strlen(text_of_offset));
    clock_use_file(offset);
    room_ok(access_log_purge(room.partition, &clerk, LOG_KEEP_YEARS, 9, &purged));
    assert_int_equal(purged, 512);
    room_commit();
    sign(&head);
    struct log_lines what = {.head = &head};
    what.checkpoint[what.checkpoints++] = early.size; /* inside of what was purged */
    export_to("purged", &what);
    assert_int_equal(what.from, 513);
    assert_true(verify_one("purged", "early"));
    assert_non_null(strstr(said, "Entries 1 to 512 were purged after seven years"));
    struct log_lines gone = {.from = 512, .head = &head};
    assert_int_equal(log_lines_settle(room.partition, &gone), ERR_NOT_FOUND);
    /* Starting later without a purge that names it is an excerpt, and said so. */
    struct log_lines excerpt = {.from = 520, .head = &head};
    export_to("excerpt", &excerpt);
    assert_true(verify_one("excerpt", NULL));
    assert_non_null(strstr(said, "Entries 1 to 519 are not part of this export"));
}

static void what_is_not_signed_does_not_verify(void **state) {
    (void)state;
    struct log_signed_head head;
    append(5);
    sign(&head);
    struct log_lines what = {0};
    export_to("unsigned", &what);
    assert_false(verify_one("unsigned", NULL));
    assert_non_null(strstr(said, "no signed head"));
    crypto_ed25519_keypair(&key, public_key); /* another's key */
    what.head = &head;
    export_to("signed", &what);
    assert_false(verify_one("signed", NULL));
    write_file("empty", "", 0);
    assert_false(verify_one("empty", NULL));
    write_file("empty", "{\"municipality_code\":\"131032\"}\n", 31);
    assert_false(verify_one("empty", NULL));
    assert_false(verify_one("not there", NULL));
}

static void bounds_are_kept(void **state) {
    (void)state;
    struct log_signed_head head;
    append(5);
    sign(&head);
    append(5);
    struct log_lines beyond = {.from = 7, .head = &head}, back = {.from = 4, .to = 3};
    assert_int_equal(log_lines_settle(room.partition, &beyond), ERR_BAD_FIELD);
    assert_int_equal(log_lines_settle(room.partition, &back), ERR_BAD_FIELD);
    struct log_lines none = {.from = 6, .head = &head}; /* nothing new since */
    export_to("none", &none);
    assert_true(verify_one("none", NULL));
    struct log_lines words = {.words = true, .head = &head};
    export_to("words", &words);
    assert_true(verify_one("words", NULL));
    read_lines("words");
    assert_non_null(strstr(line[1], "minato-01"));
    export_to("hashes", &(struct log_lines){.head = &head});
    read_lines("hashes");
    for (size_t i = 0; i < lines; i++)
        assert_null(strstr(line[i], "minato-01"));
}

static bool receipt_verifies(const char *name) {
    struct verifier v = {.keys.count = 1};
    memcpy(v.keys.key[0], public_key, sizeof public_key);
    verify_receipt(&v, path(name));
    return v.bad == 0;
}

static void a_receipt_verifies_years_later(void **state) {
    (void)state;
    const struct proof_statement s = {.receipt_id = "0123456789abcdef0123456789abcdef",
                                      .dose_id = "fedcba9876543210fedcba9876543210",
                                      .outcome = "recorded",
                                      .ocr_line = "211310320000000015",
                                      .status = "given",
                                      .vaccinated_on = "2021-07-01",
                                      .product = "comirnaty",
                                      .lot = "FF3620"};
    struct merkle_hash commitment;
    struct log_place place;
    struct log_proof proof = {.entry = 0};
    append(300);
    proof_commitment(&s, &commitment);
    const struct log_entry e = {.actor = clerk, .act = "dose.record", .commitment = &commitment};
    room_ok(access_log_append_at(room.partition, &e, &place));
    append(20);
    sign(&proof.head);
    proof.entry = place.entry;
    proof.entry_hash = place.entry_hash;
    room_ok(access_log_path(room.partition, place.entry, proof.head.size, proof.path,
                            &proof.path_count));
    json_t *receipt = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:o}", "receipt_id", s.receipt_id,
                                "dose_id", s.dose_id, "outcome", s.outcome, "ocr_line", s.ocr_line,
                                "status", s.status, "vaccinated_on", s.vaccinated_on, "product",
                                s.product, "lot", s.lot, "proof", proof_json(&proof));
    char *whole = json_dumps(receipt, 0);
    write_file("receipt", whole, strlen(whole));
    assert_true(receipt_verifies("receipt"));
    free(whole);
    /* The receipt is an outside head, too. */
    append(10);
    struct log_signed_head head;
    sign(&head);
    export_to("all", &(struct log_lines){.head = &head});
    assert_true(verify_one("all", "receipt"));

    (void)json_object_del(receipt, "ocr_line"); /* as it was posted: by its parts */
    (void)json_object_set_new(receipt, "coupon",
                              json_pack("{s:s,s:i,s:s,s:s}", "kind", "2", "dose_number", 1,
                                        "municipality_code", "131032", "coupon_number",
                                        "0000000015"));
    whole = json_dumps(receipt, 0);
    write_file("receipt", whole, strlen(whole));
    assert_true(receipt_verifies("receipt"));
    free(whole);
    (void)json_object_set_new(receipt, "lot", json_string("FF3621"));
    whole = json_dumps(receipt, 0);
    write_file("receipt", whole, strlen(whole));
    assert_false(receipt_verifies("receipt"));
    free(whole);
    json_decref(receipt);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(an_untouched_log_verifies),
        TEST(files_go_on_from_one_another),
        TEST(s3_every_change_of_an_export_is_found),
        TEST(s3_a_cut_end_needs_a_head_kept_outside),
        TEST(s3_changes_of_the_file_are_found_from_outside),
        TEST(a_restore_is_told_from_a_fork),
        TEST(c62_a_purged_start_verifies),
        TEST(what_is_not_signed_does_not_verify),
        TEST(bounds_are_kept),
        TEST(a_receipt_verifies_years_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
