#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/text.h"
#include "partitions/access_log.h"
#include "partitions/person.h"
#include "tests/lib/room.h"

static const struct log_actor clerk = {
    .user = "minato-01", .section = "保健予防課", .terminal = "LGWAN-0007", .source = "lgwan"};

static uint64_t append(const char *act) {
    uint64_t seq = 0;
    const struct log_entry e = {
        .actor = clerk, .act = act, .purpose = "vaccination_record", .result = "ok", .count = 1};
    room_ok(access_log_append(room.partition, &e, &seq));
    return seq;
}

static void append_some(int n) {
    for (int i = 0; i < n; i++)
        (void)append("dose.record");
}

static enum vrs_err verify(const struct log_head *from, uint64_t *bad) {
    struct log_head head;
    return access_log_verify(room.partition, from, &head, bad);
}

static void must_be_found(uint64_t expected) {
    uint64_t bad = 0;
    assert_int_equal(verify(NULL, &bad), ERR_TAMPERED);
    assert_int_equal(bad, expected);
}

/* What was read: copies of what the tests look at. */
struct seen {
    size_t count;
    uint64_t seq[16];
    char last_detail[1100], last_items[1300], last_addressee[32];
    char user[64], section[64], terminal[64], source[16], purpose[64], result[64];
    int64_t at_ms;
    uint64_t n;
    size_t subjects;
    struct merkle_hash leaf, entry_hash, commitment;
    char clear[LOG_TEXT_BYTES];
};

static enum vrs_err see(const struct log_read *e, void *arg) {
    struct seen *s = arg;
    assert_true(s->count < 16);
    s->seq[s->count++] = e->seq;
    (void)snprintf(s->last_detail, sizeof s->last_detail, "%s", e->detail);
    (void)snprintf(s->last_items, sizeof s->last_items, "%s", e->four_items);
    (void)snprintf(s->last_addressee, sizeof s->last_addressee, "%s", e->addressee);
    (void)snprintf(s->user, sizeof s->user, "%s", e->user);
    (void)snprintf(s->section, sizeof s->section, "%s", e->section);
    (void)snprintf(s->terminal, sizeof s->terminal, "%s", e->terminal);
    (void)snprintf(s->source, sizeof s->source, "%s", e->source);
    (void)snprintf(s->purpose, sizeof s->purpose, "%s", e->purpose);
    (void)snprintf(s->result, sizeof s->result, "%s", e->result);
    s->at_ms = e->at_ms;
    s->n = e->count;
    s->subjects = e->subject_count;
    s->leaf = e->leaf;
    s->entry_hash = e->entry_hash;
    s->commitment = e->commitment;
    (void)snprintf(s->clear, sizeof s->clear, "%s", e->clear);
    return VRS_OK;
}

static void somebody(struct person *p) {
    person_init(p);
    (void)snprintf(p->addressee, sizeof p->addressee, "0000012345");
    (void)snprintf(p->name, sizeof p->name, "髙橋 花子");
    (void)snprintf(p->address, sizeof p->address, "東京都港区芝公園一丁目");
    room_ok(clock_parse_date("1950-04-01", &p->birth));
    p->sex = SEX_FEMALE;
}

/* C60: all seven items, none empty. */
static void an_entry_has_its_seven_items(void **state) {
    (void)state;
    struct person p;
    struct seen s = {0};
    somebody(&p);
    const struct log_entry e = {.actor = clerk,
                                .act = "resident.read",
                                .purpose = "vaccination_record",
                                .result = "ok",
                                .count = 1,
                                .person = &p};
    room_ok(access_log_append(room.partition, &e, NULL));
    room_ok(access_log_read(room.partition, 0, 10, see, &s));
    assert_int_equal(s.count, 1);
    assert_true(s.at_ms > 1600000000000);
    assert_string_equal(s.user, "minato-01");
    assert_string_equal(s.section, "保健予防課");
    assert_string_equal(s.terminal, "LGWAN-0007");
    assert_string_equal(s.source, "lgwan");
    assert_string_equal(s.purpose, "vaccination_record");
    assert_string_equal(s.last_addressee, "0000012345");
    assert_string_equal(s.last_items, "髙橋 花子|1950-04-01|女|東京都港区芝公園一丁目");
    assert_string_equal(s.last_detail, "-");
    assert_int_equal(s.n, 1);

    const struct log_entry bare = {.act = "system.start"};
    p.addressee[0] = p.name[0] = p.address[0] = '\0';
    p.birth = PERSON_NO_DATE;
    p.sex = SEX_UNKNOWN;
    room_ok(access_log_append(room.partition, &bare, NULL));
    memset(&s, 0, sizeof s);
    room_ok(access_log_read(room.partition, 1, 10, see, &s));
    assert_int_equal(s.count, 1);
    for (size_t i = 0; i < 7; i++) {
        const char *const items[] = {s.user,    s.section, s.terminal,      s.source,
                                     s.purpose, s.result,  s.last_addressee};
        assert_string_equal(items[i], "-");
    }
    assert_string_equal(s.last_items, "-");
    const struct log_entry unknown = {.act = "resident.read", .person = &p};
    room_ok(access_log_append(room.partition, &unknown, NULL));
    room_ok(access_log_read(room.partition, 2, 10, see, &s));
    assert_string_equal(s.last_items, "-|-|不明|-");
}

static void long_text_is_cut_after_a_whole_character(void **state) {
    (void)state;
    struct seen s = {0};
    char detail[3000] = "";
    for (int i = 0; i < 900; i++)
        strcat(detail, "接");
    for (size_t shift = 0; shift < 3; shift++) {
        const struct log_entry e = {
            .actor = clerk, .act = "dose.correct", .detail = detail + 3 * shift + 3};
        detail[3 * shift + 3] = 'x'; /* and the rest of the character is no UTF-8 any more */
        room_ok(access_log_append(room.partition, &e, NULL));
    }
    const struct log_entry whole = {.actor = clerk, .act = "dose.correct", .detail = detail + 30};
    room_ok(access_log_append(room.partition, &whole, NULL));
    room_ok(access_log_read(room.partition, 3, 1, see, &s));
    assert_true(text_valid_utf8(s.last_detail, strlen(s.last_detail)));
    assert_int_equal(strlen(s.last_detail), 1023);
    assert_string_equal(s.last_detail + 1014, "接接…");
    for (uint64_t seq = 0; seq < 3; seq++) {
        room_ok(access_log_read(room.partition, seq, 1, see, &s));
        assert_true(text_valid_utf8(s.last_detail, strlen(s.last_detail)));
        assert_int_equal(s.last_detail[0], 'x');
    }
}

/* The leaves as anybody can compute them from the stored rows, with the hash functions alone. */
static void the_leaves_are_what_the_header_says(void **state) {
    (void)state;
    struct log_head head;
    struct seen s = {0};
    struct merkle_hash leaves[3], root, commitment = {.bytes = {7, 8, 9}};
    struct log_place place;
    room_ok(access_log_head(room.partition, &head));
    assert_int_equal(head.size, 0);
    merkle_root(NULL, 0, &root);
    assert_memory_equal(&head.root, &root, sizeof root);
    assert_string_equal(head.epoch, "1");
    append_some(2);
    const struct log_entry e = {.actor = clerk, .act = "dose.record", .commitment = &commitment};
    room_ok(access_log_append_at(room.partition, &e, &place));
    assert_int_equal(place.entry, 3);
    for (uint64_t seq = 1; seq <= 3; seq++) {
        struct store_row row;
        uint8_t id[16] = {0}, text[65] = {0};
        id[15] = (uint8_t)seq;
        room_ok(store_sqlite.get(partition_store(room.partition), TABLE_LOG, id, &row));
        assert_int_equal(row.order, seq);
        assert_int_equal(row.index[1].len, seq == 3 ? 32 : 0);
        if (seq == 3)
            memcpy(text + 1, commitment.bytes, 32);
        crypto_sha256(row.blob, row.blob_len, text + 33);
        crypto_sha256(text, sizeof text, leaves[seq - 1].bytes);
        memset(&s, 0, sizeof s);
        room_ok(access_log_read(room.partition, seq - 1, 1, see, &s));
        assert_memory_equal(&s.leaf, &leaves[seq - 1], 32);
        assert_memory_equal(&s.entry_hash, text + 33, 32);
        assert_memory_equal(&s.commitment, text + 1, 32);
    }
    assert_memory_equal(&place.entry_hash, &s.entry_hash, 32);
    room_ok(access_log_head(room.partition, &head));
    assert_int_equal(head.size, 0); /* what is committed */
    room_commit();
    room_ok(access_log_head(room.partition, &head));
    assert_int_equal(head.size, 3);
    merkle_root(leaves, 3, &root);
    assert_memory_equal(&head.root, &root, 32);
}

static void an_undone_entry_leaves_the_head_as_it_was(void **state) {
    (void)state;
    struct log_head before, after, again;
    uint64_t bad;
    append_some(2);
    room_commit();
    room_ok(access_log_head(room.partition, &before));
    room_ok(partition_savepoint(room.partition));
    append_some(3);
    room_ok(partition_savepoint(room.partition));
    append_some(1);
    room_ok(partition_rollback_to(room.partition));
    assert_int_equal(append("after the inner undo"), 6);
    room_ok(partition_rollback_to(room.partition));
    room_commit();
    room_ok(access_log_head(room.partition, &after));
    assert_int_equal(after.size, 2);
    assert_memory_equal(&after.root, &before.root, 32);
    assert_int_equal(append("after the undo"), 3);
    room_ok(verify(&before, &bad));

    room_ok(partition_savepoint(room.partition));
    assert_int_equal(append("kept"), 4);
    room_ok(partition_release(room.partition));
    room_commit();
    append_some(5);
    partition_rollback(room.partition);
    room_ok(partition_begin(room.partition));
    assert_int_equal(append("after the rollback"), 5);
    room_ok(access_log_verify(room.partition, &before, &again, &bad));
    assert_int_equal(again.size, 5);
    room_commit();
    room_ok(access_log_head(room.partition, &after));
    assert_memory_equal(&after, &again, sizeof after);
    room_close();
    room_open();
    room_ok(access_log_head(room.partition, &after));
    assert_memory_equal(&after, &again, sizeof after);
    assert_int_equal(append("after a start"), 6);
    room_ok(verify(&again, &bad));
}

static void a_changed_row_is_found(void **state) {
    (void)state;
    append_some(6);
    room_ok(verify(NULL, &(uint64_t){0}));
    (void)room_raw("UPDATE access_log SET blob = substr(blob,1,40) || CASE substr(blob,41,1) WHEN "
                   "x'00' THEN x'01' ELSE x'00' END || substr(blob,42) WHERE ord = 3");
    must_be_found(3);
}

static void a_changed_column_is_found(void **state) {
    (void)state;
    static const char *const changes[] = {
        "UPDATE access_log SET version = 2 WHERE ord = 4",
        "UPDATE access_log SET state = 1 WHERE ord = 4",
        "UPDATE access_log SET key_id = 77 WHERE ord = 4",
        "UPDATE access_log SET i0 = zeroblob(32) WHERE ord = 4",
        "UPDATE access_log SET i1 = zeroblob(32) WHERE ord = 4",
        "UPDATE access_log SET i1 = x'01' WHERE ord = 4",
        "UPDATE access_log SET blob = x'01' WHERE ord = 4",
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        if (i > 0) {
            (void)room_tear_down(NULL);
            (void)room_set_up(NULL);
        }
        append_some(6);
        (void)room_raw(changes[i]);
        must_be_found(4);
    }
}

static void a_deleted_row_is_found(void **state) {
    (void)state;
    append_some(6);
    (void)room_raw("DELETE FROM access_log WHERE ord = 2");
    must_be_found(2);
}

static void deleted_and_renumbered_rows_are_found(void **state) {
    (void)state;
    append_some(6);
    (void)room_raw("DELETE FROM access_log WHERE ord = 6;"
                   "DELETE FROM access_log WHERE ord = 2;"
                   "UPDATE access_log SET ord = 2 WHERE ord = 3;"
                   "UPDATE access_log SET ord = 3 WHERE ord = 4;"
                   "UPDATE access_log SET ord = 4 WHERE ord = 5");
    must_be_found(2);
}

static void an_inserted_row_is_found(void **state) {
    (void)state;
    append_some(6);
    (void)room_raw("INSERT INTO access_log SELECT randomblob(16),version,generation,key_id,state,"
                   "-3,i0,i1,i2,i3,blob FROM access_log WHERE ord = 5");
    must_be_found(7); /* beside the sequence */
    (void)room_raw("INSERT INTO access_log SELECT x'00000000000000000000000000000007',version,"
                   "generation,key_id,state,7,i0,i1,i2,i3,blob FROM access_log WHERE ord = 6");
    must_be_found(7);
}

static void swapped_rows_are_found(void **state) {
    (void)state;
    append_some(6);
    (void)room_raw("CREATE TEMP TABLE t AS SELECT * FROM access_log WHERE ord IN (2,5);"
                   "UPDATE access_log SET blob = (SELECT blob FROM t WHERE ord = 5),"
                   "i1 = (SELECT i1 FROM t WHERE ord = 5) WHERE ord = 2;"
                   "UPDATE access_log SET blob = (SELECT blob FROM t WHERE ord = 2),"
                   "i1 = (SELECT i1 FROM t WHERE ord = 2) WHERE ord = 5");
    must_be_found(2);
}

/* Without an earlier head a shorter log is only a shorter log; with one, it is found. */
static void a_cut_end_is_found_by_an_earlier_head(void **state) {
    (void)state;
    struct log_head head, early;
    uint64_t bad = 0;
    append_some(3);
    room_commit();
    room_ok(access_log_head(room.partition, &early));
    append_some(3);
    room_commit();
    room_ok(access_log_head(room.partition, &head));
    (void)room_raw("DELETE FROM access_log WHERE ord > 4");
    room_ok(verify(NULL, &bad));
    room_ok(verify(&early, &bad));
    assert_int_equal(verify(&head, &bad), ERR_TAMPERED);
    assert_int_equal(bad, 5);
    append_some(2); /* as long as before, but another history */
    room_ok(verify(NULL, &bad));
    room_ok(verify(&early, &bad));
    assert_int_equal(verify(&head, &bad), ERR_TAMPERED);
    assert_int_equal(bad, 6);
    append_some(1);
    assert_int_equal(verify(&head, &bad), ERR_TAMPERED);
    (void)room_raw("DELETE FROM access_log");
    assert_int_equal(verify(&early, &bad), ERR_TAMPERED);
    assert_int_equal(bad, 1);
}

static void entries_are_found_by_every_subject(void **state) {
    (void)state;
    struct record_id who[3];
    struct person p;
    struct seen s = {0};
    for (size_t i = 0; i < 3; i++)
        record_id_new(&who[i]);
    const struct record_id twice[3] = {who[0], who[1], who[0]};
    const struct log_entry one = {
        .actor = clerk, .act = "a", .subjects = &who[0], .subject_count = 1};
    const struct log_entry many = {
        .actor = clerk, .act = "b", .subjects = twice, .subject_count = 3};
    somebody(&p);
    p.id = who[1];
    const struct log_entry person = {.actor = clerk, .act = "c", .person = &p};
    room_ok(access_log_append(room.partition, &many, NULL));
    room_ok(access_log_append(room.partition, &one, NULL));
    room_ok(access_log_append(room.partition, &many, NULL));
    room_ok(access_log_append(room.partition, &person, NULL));
    room_ok(access_log_of_person(room.partition, &who[0], see, &s));
    assert_int_equal(s.count, 3);
    assert_true(s.seq[0] == 1 && s.seq[1] == 2 && s.seq[2] == 3);
    assert_int_equal(s.subjects, 3);
    memset(&s, 0, sizeof s);
    room_ok(access_log_of_person(room.partition, &who[1], see, &s));
    assert_int_equal(s.count, 3);
    assert_true(s.seq[0] == 1 && s.seq[1] == 3 && s.seq[2] == 4);
    memset(&s, 0, sizeof s);
    room_ok(access_log_of_person(room.partition, &who[2], see, &s));
    assert_int_equal(s.count, 0);
    room_ok(verify(NULL, &(uint64_t){0}));
    (void)room_raw("DELETE FROM access_log_subject WHERE rowid = 2");
    must_be_found(5);
}

static void reading_goes_on_after_a_sequence(void **state) {
    (void)state;
    struct seen s = {0};
    append_some(9);
    room_ok(access_log_read(room.partition, 0, 4, see, &s));
    assert_int_equal(s.count, 4);
    assert_int_equal(s.seq[3], 4);
    room_ok(access_log_read(room.partition, 4, 100, see, &s));
    assert_int_equal(s.count, 9);
    assert_int_equal(s.seq[8], 9);
    room_ok(access_log_read(room.partition, 9, 100, see, &s));
    assert_int_equal(s.count, 9);
}

static void a_new_epoch_names_the_last_head(void **state) {
    (void)state;
    struct log_head before, known, after;
    struct log_epoch_text t;
    struct seen s = {0};
    char root[65];
    uint64_t bad;
    append_some(2);
    room_commit();
    room_ok(access_log_head(room.partition, &before));
    known = before;
    known.size = 5; /* a checkpoint says so: three entries were lost */
    known.root.bytes[0] ^= 1;
    room_ok(access_log_open_epoch(room.partition, &clerk, "restored from 2026-01-01", &known));
    room_ok(access_log_verify(room.partition, &before, &after, &bad));
    assert_int_equal(after.size, 3);
    assert_int_equal(strlen(after.epoch), 36);
    room_ok(access_log_read(room.partition, 2, 1, see, &s));
    assert_string_equal(s.result, after.epoch);
    crypto_hex(known.root.bytes, 32, root);
    assert_non_null(strstr(s.last_detail, root));
    assert_non_null(strstr(s.last_detail, "after 5 "));
    assert_true(log_epoch_parse(s.clear, &t));
    assert_string_equal(t.municipality, "131032");
    assert_string_equal(t.epoch, after.epoch);
    assert_string_equal(t.previous, "1");
    assert_int_equal(t.known, 5);
    assert_int_equal(t.restored, 2);
    assert_memory_equal(&t.known_root, &known.root, 32);
    room_commit();
    room_ok(access_log_head(room.partition, &before));
    assert_string_equal(before.epoch, after.epoch);
    assert_int_equal(before.size, 3);
    /* What the restore owns up to passes; what it does not is found. */
    room_ok(verify(&known, &bad));
    known.size = 4;
    room_ok(verify(&known, &bad));
    known.size = 6;
    assert_int_equal(verify(&known, &bad), ERR_TAMPERED);
    assert_int_equal(bad, 3);
    known.size = 5;
    known.root.bytes[0] ^= 1;
    assert_int_equal(verify(&known, &bad), ERR_TAMPERED);
    append_some(1);
    (void)room_raw("UPDATE meta SET value = '1' WHERE name = 'log_epoch'");
    must_be_found(5);
}

static void an_epoch_that_is_not_committed_is_not_there(void **state) {
    (void)state;
    struct log_head head;
    room_ok(access_log_open_epoch(room.partition, &clerk, "undone", NULL));
    partition_rollback(room.partition);
    room_ok(access_log_head(room.partition, &head)); /* outside a transaction */
    assert_string_equal(head.epoch, "1");
    assert_int_equal(head.size, 0);
    room_ok(partition_begin(room.partition));
}

/* An event that the Internet side names as it likes does not pass for a new epoch. */
static void another_entry_does_not_open_an_epoch(void **state) {
    (void)state;
    const struct log_entry e = {
        .actor = clerk, .act = "log.epoch", .purpose = "internet_side", .result = "noted"};
    room_ok(access_log_append(room.partition, &e, NULL));
    room_ok(verify(NULL, &(uint64_t){0}));
}

static void no_file_holds_an_entrys_words(void **state) {
    (void)state;
    struct person p;
    somebody(&p);
    const struct log_entry e = {
        .actor = clerk, .act = "resident.read", .detail = "カナと生年月日", .person = &p};
    room_ok(access_log_append(room.partition, &e, NULL));
    room_commit();
    static const char *const words[] = {"髙橋",      "0000012345", "芝公園",
                                        "minato-01", "生年月日",   "resident.read"};
    for (int closed = 0; closed < 2; closed++) {
        for (size_t i = 0; i < sizeof words / sizeof *words; i++)
            assert_false(stand_holds(room.stand.dir, words[i], strlen(words[i])));
        if (closed == 0)
            room_close();
    }
    assert_true(stand_holds(room.stand.dir, "access_log", 10)); /* the scan does find things */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        ROOM_TEST(an_entry_has_its_seven_items),
        ROOM_TEST(long_text_is_cut_after_a_whole_character),
        ROOM_TEST(the_leaves_are_what_the_header_says),
        ROOM_TEST(an_undone_entry_leaves_the_head_as_it_was),
        ROOM_TEST(a_changed_row_is_found),
        ROOM_TEST(a_changed_column_is_found),
        ROOM_TEST(a_deleted_row_is_found),
        ROOM_TEST(deleted_and_renumbered_rows_are_found),
        ROOM_TEST(an_inserted_row_is_found),
        ROOM_TEST(swapped_rows_are_found),
        ROOM_TEST(a_cut_end_is_found_by_an_earlier_head),
        ROOM_TEST(entries_are_found_by_every_subject),
        ROOM_TEST(reading_goes_on_after_a_sequence),
        ROOM_TEST(a_new_epoch_names_the_last_head),
        ROOM_TEST(an_epoch_that_is_not_committed_is_not_there),
        ROOM_TEST(another_entry_does_not_open_an_epoch),
        ROOM_TEST(no_file_holds_an_entrys_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
