// needs: vrs-server/keeping/tombstone.c
/* Erasing: what goes, what stays, and that not even sealed bytes are left in the file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/crypto.h"
#include "partitions/claim.h"
#include "partitions/exchange.h"
#include "partitions/person.h"
#include "partitions/scrub.h"
#include "tests/lib/room.h"
#include "vrs-server/keeping/tombstone.h"

enum { PEOPLE = 400 };

static void text_of(char *out, size_t cap, unsigned seed) {
    size_t n = 20 + (size_t)(seed * 2654435761U >> 20) % (cap - 21);
    memset(out, 'a' + (int)(seed % 26), n);
    out[n] = '\0';
}

static struct record_id someone(unsigned i) {
    struct person p;
    struct person_coupon c = {.sent_on = PERSON_NO_DATE};
    bool added;
    char digits[24];
    person_init(&p);
    (void)snprintf(p.addressee, sizeof p.addressee, "Z%05u", i);
    (void)snprintf(p.name, sizeof p.name, "試験　%u", i);
    p.birth = room_day("1960-04-01");
    text_of(p.address, 300, i);
    room_ok(person_put(room.partition, &p));
    c.person = p.id;
    record_id_new(&c.id);
    (void)snprintf(digits, sizeof digits, "%010u", i);
    assert_true(coupon_number_set(&c.number, digits));
    room_ok(coupon_add(room.partition, &c, &added));
    return p.id;
}

static struct claim dose(const struct record_id *person, unsigned coupon, int number) {
    struct claim c;
    char digits[24];
    claim_init(&c);
    crypto_random(c.receipt, sizeof c.receipt);
    c.coupon.kind = COUPON_VACCINATION;
    c.coupon.dose_number = number;
    assert_true(municipality_code_set(&c.coupon.municipality, "131032"));
    (void)snprintf(digits, sizeof digits, "%010u", coupon);
    assert_true(coupon_number_set(&c.coupon.number, digits));
    c.given = true;
    c.has_person = true;
    c.person = *person;
    c.state = CLAIM_RECORDED;
    c.vaccinated_on = room_day("2021-07-01");
    text_of(c.site, sizeof c.site, coupon + (unsigned)number);
    room_ok(claim_insert(room.partition, &c));
    return c;
}

static uint64_t rows(enum store_table t) {
    uint64_t n;
    room_ok(store_sqlite.count(partition_store(room.partition), t, UINT32_MAX, &n));
    return n;
}

static void everything_about_a_person_goes_and_nothing_else(void **state) {
    (void)state;
    struct erased x;
    struct record_id gone = someone(1), stays = someone(2), link;
    struct inquiry q;
    struct held_inquiry h = {.state = 2, .person = gone};
    struct provision v = {.has_person = true, .person = gone};
    char hex[33], answer[200];
    struct claim c = dose(&gone, 1, 1);
    struct person p;
    (void)dose(&stays, 2, 1);
    (void)snprintf(c.lot, sizeof c.lot, "FF2");
    c.outcome_unsent = true;
    room_ok(claim_update(room.partition, &c));
    room_ok(person_get(room.partition, &gone, &p));
    room_ok(person_put(room.partition, &p));
    record_id_new(&link);
    room_ok(number_link_add(room.partition, &link, &gone));
    inquiry_init(&q);
    q.state = INQUIRY_MATCH;
    q.has_person = true;
    q.person = gone;
    room_ok(inquiry_put(room.partition, &q));
    record_id_new(&h.id);
    room_ok(held_put(room.partition, &h));
    record_id_new(&v.id);
    room_ok(provision_add(room.partition, &v));
    record_id_format(&gone, hex);
    (void)snprintf(answer, sizeof answer, "{\"resident_id\":\"%s\",\"name\":\"x\"}", hex);
    room_ok(idempotency_keep(room.partition, "key-1", "b", 1, 200, answer, strlen(answer)));
    room_ok(idempotency_keep(room.partition, "key-2", "b", 1, 201, "{}", 2));
    erased_init(&x);
    room_ok(erase_person(room.partition, &gone, &x));
    const uint64_t want[] = {[ERASED_PERSON] = 1,  [ERASED_PERSON_VERSION] = 1, [ERASED_COUPON] = 1,
                             [ERASED_DOSE] = 1,    [ERASED_DOSE_VERSION] = 1,   [ERASED_NUMBER] = 1,
                             [ERASED_INQUIRY] = 2, [ERASED_ANSWER] = 1};
    for (size_t k = 0; k < sizeof want / sizeof *want; k++)
        assert_int_equal(x.count[k], want[k]);
    assert_int_equal(x.seals.len, 9 * ERASE_SEAL_BYTES);
    assert_int_equal(x.claims.len, ERASE_CLAIM_BYTES);
    assert_memory_equal(x.claims.data, c.id.bytes, sizeof c.id.bytes);
    assert_int_equal(x.numbers.len, STORE_ID_BYTES);
    assert_int_equal(x.blinds.len, 2 * PARTITION_BLIND_BYTES);
    assert_int_equal(rows(TABLE_PERSON), 1);
    assert_int_equal(rows(TABLE_CLAIM), 1);
    assert_int_equal(rows(TABLE_COUPON), 1);
    assert_int_equal(rows(TABLE_INQUIRY) + rows(TABLE_HELD) + rows(TABLE_NUMBER_LINK) +
                         rows(TABLE_PERSON_HISTORY) + rows(TABLE_CLAIM_HISTORY) +
                         rows(TABLE_OUTCOME_UNSENT),
                     0);
    assert_int_equal(rows(TABLE_PROVISION), 1); /* seven years */
    struct idempotent first = {0};
    bool seen;
    buffer_init(&first.answer, 1000);
    room_ok(idempotency_look(room.partition, "key-1", "b", 1, &seen, &first));
    assert_true(seen && first.status == 200);
    assert_string_equal(buffer_cstr(&first.answer), "{\"erased\":true}");
    buffer_fini(&first.answer);
    assert_int_equal(erase_person(room.partition, &gone, &x), ERR_NOT_FOUND);
    inquiry_fini(&q);
    erased_fini(&x);
}

static void an_inquiry_that_waits_is_answered_first(void **state) {
    (void)state;
    struct erased x;
    struct record_id person = someone(1);
    struct held_inquiry h = {.state = 1, .person = person};
    record_id_new(&h.id);
    room_ok(held_put(room.partition, &h));
    erased_init(&x);
    assert_int_equal(erase_person(room.partition, &person, &x), ERR_CONFLICT);
    erased_fini(&x);
}

static uint64_t seals_left(const struct erased *x) {
    uint64_t found = 0, bytes = 0;
    room_ok(scrub_look(room.file, &x->seals, &found, &bytes, &room.fault));
    return found;
}

/* C126.  Rows move when others grow, so that bytes stay in the room that they leave: the control
 * shows that closing alone is not enough, and the look finds what is there. */
static void no_seal_is_left_in_the_file(void **state) {
    (void)state;
    struct record_id id[PEOPLE];
    struct erased x;
    struct scrub_result done;
    struct person p;
    for (unsigned i = 0; i < PEOPLE; i++) {
        id[i] = someone(i + 1);
        (void)dose(&id[i], i + 1, 1);
    }
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < PEOPLE; i++) { /* growing and shrinking: rows move */
            room_ok(person_get(room.partition, &id[i], &p));
            text_of(p.address, sizeof p.address, i * 7 + round * 1000);
            room_ok(person_put(room.partition, &p));
        }
        room_commit();
    }
    erased_init(&x);
    for (unsigned i = 0; i < PEOPLE; i += 4)
        room_ok(erase_person(room.partition, &id[i], &x));
    room_close();
    uint64_t control = seals_left(&x);
    print_message("# %llu of %zu seals left by closing alone\n", (unsigned long long)control,
                  x.seals.len / ERASE_SEAL_BYTES);
    room_ok(scrub_file(&store_sqlite, room.stand.partitions, "131032", &x.seals, 0, &done,
                       &room.fault));
    assert_int_equal(done.found, control);
    assert_int_equal(done.rewritten, control > 0);
    assert_int_equal(seals_left(&x), 0);
    room_ok(scrub_file(&store_sqlite, room.stand.partitions, "131032", &x.seals, SCRUB_SMALL_BYTES,
                       &done, &room.fault));
    assert_true(done.rewritten && done.found == 0);
    struct stat st;
    assert_int_equal(stat(room.file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    room_open();
    for (unsigned i = 0; i < PEOPLE; i++)
        assert_int_equal(person_get(room.partition, &id[i], &p), i % 4 ? VRS_OK : ERR_NOT_FOUND);
    /* control: bytes that stand there are found, over the edge of a window, too */
    room_close();
    FILE *f = fopen(room.file, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, (1 << 20) - 7, SEEK_SET), 0);
    assert_int_equal(fwrite(x.seals.data + ERASE_SEAL_BYTES, 1, ERASE_SEAL_BYTES, f),
                     ERASE_SEAL_BYTES);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(seals_left(&x), 1);
    erased_fini(&x);
}

/* An older file has the person, and a claim that was not yet the person's. */
static void an_erasure_takes_effect_again(void **state) {
    (void)state;
    struct erased x, again;
    struct record_id person = someone(1);
    struct claim c = dose(&person, 1, 1);
    erased_init(&x);
    erased_init(&again);
    room_ok(partition_savepoint(room.partition));
    room_ok(erase_person(room.partition, &person, &x));
    room_ok(partition_rollback_to(room.partition));
    c.has_person = false;
    c.state = CLAIM_WAITING;
    room_ok(claim_update(room.partition, &c));
    room_ok(erase_again(room.partition, &person, &x.claims, &again));
    assert_int_equal(again.count[ERASED_PERSON], 1);
    assert_int_equal(again.count[ERASED_DOSE], 1);
    assert_int_equal(rows(TABLE_CLAIM) + rows(TABLE_CLAIM_HISTORY), 0);
    room_ok(erase_again(room.partition, &person, &x.claims, &again));
    assert_int_equal(again.count[ERASED_PERSON], 1);
    erased_fini(&x);
    erased_fini(&again);
}

/* --- tombstones --- */

static struct tombstone_file file_of(void) {
    static char dir[128];
    (void)snprintf(dir, sizeof dir, "%s/tombstones", room.stand.dir);
    return (struct tombstone_file){.dir = dir, .keys = room.stand.ring};
}

static struct record_id entombed(unsigned i, bool in_file, uint8_t receipt[16]) {
    struct record_id person = someone(i);
    struct claim c = dose(&person, i, 1);
    struct erased x;
    struct tombstone t;
    const struct tombstone_file f = file_of();
    erased_init(&x);
    tombstone_init(&t);
    t.person = person;
    (void)snprintf(t.by, sizeof t.by, "minato-1");
    (void)snprintf(t.reason, sizeof t.reason, "理由 %u", i);
    room_ok(erase_person(room.partition, &person, &x));
    room_ok(tombstone_of(&t, &x));
    room_ok(tombstone_put(room.partition, &t));
    if (in_file)
        room_ok(tombstone_append(&f, "131032", &t, &room.fault));
    memcpy(receipt, c.receipt, 16);
    struct record_id id = t.id;
    erased_fini(&x);
    tombstone_fini(&t);
    return id;
}

static enum vrs_err count_stone(struct tombstone *t, void *arg) {
    assert_int_equal(t->what, TOMBSTONE_PERSON);
    assert_string_equal(t->by, "minato-1");
    assert_int_equal(t->count[ERASED_PERSON], 1);
    assert_int_equal(t->count[ERASED_DOSE], 1);
    assert_int_equal(t->claims.len, ERASE_CLAIM_BYTES);
    (*(int *)arg)++;
    return VRS_OK;
}

static int stones_in_file(void) {
    const struct tombstone_file f = file_of();
    int n = 0;
    room_ok(tombstone_read(&f, "131032", count_stone, &n, &room.fault));
    return n;
}

static int stones_in_rows(void) {
    int n = 0;
    room_ok(tombstone_list(room.partition, 0, 100, count_stone, &n));
    return n;
}

/* Rows without their entry go into the file; entries without their row take effect again. */
static void both_sides_are_brought_to_the_same(void **state) {
    (void)state;
    const struct tombstone_file f = file_of();
    uint8_t receipt[3][16], unknown[16] = {1};
    struct erased x;
    uint64_t again, written;
    bool erased;
    erased_init(&x);
    room_commit();
    room_ok(partition_savepoint(room.partition));
    (void)entombed(1, true, receipt[0]); /* an older file does not know it */
    room_ok(partition_rollback_to(room.partition));
    (void)entombed(2, true, receipt[1]);
    (void)entombed(3, false, receipt[2]); /* a crash before the file was written */
    assert_int_equal(stones_in_file(), 2);
    assert_int_equal(stones_in_rows(), 2);
    room_ok(tombstones_settle(room.partition, &f, &x, &again, &written, &room.fault));
    assert_int_equal(again, 1);
    assert_int_equal(written, 1);
    assert_int_equal(stones_in_file(), 3);
    assert_int_equal(stones_in_rows(), 3);
    for (int i = 0; i < 3; i++) {
        room_ok(tombstone_of_receipt(room.partition, receipt[i], &erased));
        assert_true(erased);
    }
    room_ok(tombstone_of_receipt(room.partition, unknown, &erased));
    assert_false(erased);
    room_ok(tombstones_settle(room.partition, &f, &x, &again, &written, &room.fault));
    assert_int_equal(again, 0);
    assert_int_equal(stones_in_file(), 3);
    erased_fini(&x);
}

static void patch(long at, int whence, bool cut) {
    const struct tombstone_file f = file_of();
    char path[160];
    tombstone_path(&f, "131032", path, sizeof path);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, whence), 0);
    if (cut) {
        assert_int_equal(ftruncate(fileno(file), ftell(file)), 0);
    } else {
        int c = fgetc(file);
        assert_int_equal(fseek(file, at, whence), 0);
        assert_int_not_equal(fputc(c ^ 1, file), EOF);
    }
    assert_int_equal(fclose(file), 0);
}

static void a_torn_end_is_written_again_and_a_changed_entry_is_found(void **state) {
    (void)state;
    const struct tombstone_file f = file_of();
    uint8_t receipt[16];
    struct erased x;
    uint64_t again, written;
    int n = 0;
    erased_init(&x);
    (void)entombed(1, true, receipt);
    (void)entombed(2, true, receipt);
    patch(-5, SEEK_END, true);
    assert_int_equal(stones_in_file(), 1);
    room_ok(tombstones_settle(room.partition, &f, &x, &again, &written, &room.fault));
    assert_int_equal(stones_in_file(), 2);
    assert_int_equal(again, 0);
    assert_false(stand_holds(file_of().dir, "理由", strlen("理由"))); /* sealed */
    patch(40, SEEK_SET, false);
    assert_int_equal(tombstone_read(&f, "131032", count_stone, &n, &room.fault), ERR_TAMPERED);
    erased_fini(&x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        ROOM_TEST(everything_about_a_person_goes_and_nothing_else),
        ROOM_TEST(an_inquiry_that_waits_is_answered_first),
        ROOM_TEST(no_seal_is_left_in_the_file),
        ROOM_TEST(an_erasure_takes_effect_again),
        ROOM_TEST(both_sides_are_brought_to_the_same),
        ROOM_TEST(a_torn_end_is_written_again_and_a_changed_entry_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
