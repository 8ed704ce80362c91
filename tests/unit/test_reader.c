// needs: tests/ocr/frame.c -lfreetype
/* The reader on a few frames of each grade (tests/ocr/measure has the large numbers), and what it
 * must refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ocr-ingest/reader.h"
#include "tests/ocr/frame.h"

enum { FIRST_SEED = 1900000000, FEW = 24 };

static struct frame_maker *maker;
static struct frame *frame;
static void *room;

static int open_all(void **state) {
    (void)state;
    maker = frame_maker_open();
    frame = malloc(sizeof *frame);
    room = malloc(reader_workspace_bytes(FRAME_WIDTH, FRAME_HEIGHT));
    return maker != NULL && frame != NULL && room != NULL ? 0 : -1;
}

static int close_all(void **state) {
    (void)state;
    frame_maker_close(maker);
    free(frame);
    free(room);
    return 0;
}

static enum reader_reason read_frame(struct reader_result *r) {
    return reader_read(room, frame->grey, FRAME_WIDTH, FRAME_HEIGHT, FRAME_WIDTH, r);
}

/* How many of FEW frames are read; none may be read wrongly. */
static int read_grade(enum frame_grade g) {
    int read = 0;
    for (int i = 0; i < FEW; i++) {
        struct reader_result r;
        frame_make(maker, g, FIRST_SEED + (uint64_t)i, frame);
        if (read_frame(&r) == READER_OK) {
            assert_string_equal(r.digits, frame->truth);
            for (int k = 0; k < READER_DIGITS; k++)
                assert_true(r.confidence[k] >= READER_SURE);
            read++;
        }
    }
    return read;
}

static void reads_good_frames(void **state) {
    (void)state;
    assert_int_equal(read_grade(FRAME_GOOD), FEW);
}

static void reads_nearly_all_typical_frames(void **state) {
    (void)state;
    assert_true(read_grade(FRAME_TYPICAL) >= FEW - 1);
}

static void reads_most_poor_frames(void **state) {
    (void)state;
    assert_true(read_grade(FRAME_POOR) >= FEW - 4);
}

static void reads_no_hard_frame_wrongly(void **state) {
    (void)state;
    (void)read_grade(FRAME_HARD);
}

static void reads_nothing_where_no_coupon_is(void **state) {
    (void)state;
    assert_int_equal(read_grade(FRAME_NEGATIVE), 0);
}

static void reads_no_letters_as_digits(void **state) {
    (void)state;
    assert_int_equal(read_grade(FRAME_LETTERS), 0);
}

/* The previous reading must never be shown as the new one. */
static void keeps_nothing_of_the_picture_before(void **state) {
    (void)state;
    struct reader_result r;
    frame_make(maker, FRAME_GOOD, FIRST_SEED, frame);
    assert_int_equal(read_frame(&r), READER_OK);
    memset(frame->grey, 200, sizeof frame->grey);
    assert_int_equal(read_frame(&r), READER_NO_LINE);
    assert_string_equal(r.digits, "");
}

static void refuses_a_line_that_is_cut(void **state) {
    (void)state;
    struct reader_result r;
    frame_make(maker, FRAME_GOOD, FIRST_SEED, frame);
    /* The picture ends in the middle of the seventeenth digit. */
    int width = (int)frame->cell[16].x;
    enum reader_reason why = reader_read(room, frame->grey, width, FRAME_HEIGHT, FRAME_WIDTH, &r);
    assert_true(why == READER_CUT_LINE || why == READER_NO_LINE || why == READER_UNSURE_DIGIT);
}

/* Once read as coupons: eighteen of twenty digits, the last of which the picture's edge cuts (a cell
 * of which a part is seen must be seen to be paper); and a Q among clear digits, twice. */
static void refuses_what_was_once_read_wrongly(void **state) {
    (void)state;
    struct reader_result r;
    frame_make(maker, FRAME_HARD, UINT64_C(748204844888), frame);
    assert_int_not_equal(read_frame(&r), READER_OK);
    static const uint64_t with_q[] = {302978208319, 221647952232};
    for (size_t i = 0; i < sizeof with_q / sizeof *with_q; i++) {
        frame_make(maker, FRAME_NEGATIVE, with_q[i], frame);
        assert_int_not_equal(read_frame(&r), READER_OK);
    }
}

static void refuses_a_covered_digit(void **state) {
    (void)state;
    struct reader_result r;
    for (int d = 0; d < READER_DIGITS; d++) {
        frame_make(maker, FRAME_GOOD, FIRST_SEED + 1, frame);
        const struct frame_cell *c = &frame->cell[d];
        int half = (int)c->ax + 1, high = (int)c->hy + 2;
        for (int y = (int)c->y - high; y <= (int)c->y + high; y++)
            memset(&frame->grey[y * FRAME_WIDTH + (int)c->x - half], 190, 2 * (size_t)half);
        assert_int_not_equal(read_frame(&r), READER_OK);
    }
}

static void takes_pictures_of_its_sizes_only(void **state) {
    (void)state;
    struct reader_result r;
    assert_int_equal(reader_workspace_bytes(READER_MIN_SIDE - 1, 100), 0);
    assert_int_equal(reader_workspace_bytes(100, READER_MAX_SIDE + 1), 0);
    assert_int_equal(reader_read(room, frame->grey, 10, 10, 10, &r), READER_BAD_PICTURE);
    assert_int_equal(reader_read(room, frame->grey, 640, 480, 600, &r), READER_BAD_PICTURE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_good_frames),
        cmocka_unit_test(reads_nearly_all_typical_frames),
        cmocka_unit_test(reads_most_poor_frames),
        cmocka_unit_test(reads_no_hard_frame_wrongly),
        cmocka_unit_test(reads_nothing_where_no_coupon_is),
        cmocka_unit_test(reads_no_letters_as_digits),
        cmocka_unit_test(keeps_nothing_of_the_picture_before),
        cmocka_unit_test(refuses_a_line_that_is_cut),
        cmocka_unit_test(refuses_what_was_once_read_wrongly),
        cmocka_unit_test(refuses_a_covered_digit),
        cmocka_unit_test(takes_pictures_of_its_sizes_only),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
