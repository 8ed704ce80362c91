// needs: tests/ocr/frame.c
/* Reads synthetic frames and counts: read, refused (and why), wrong.
 *
 *     build/bin/reader-measure FIRST_SEED COUNT [grade …]        exit 1 when a reading was wrong
 *
 * One line a grade; -v prints every frame that was not read.
 *
 *     build/bin/reader-measure -s SEED COUNT grade > frames.pgm     frames, one behind the other;
 *                                              what stands in them on standard error
 *     build/bin/reader-measure -r SEED COUNT grade                  reason and digits, a line a frame */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ocr-ingest/reader.h"
#include "tests/ocr/frame.h"

static const char *const reason_name[] = {"ok",          "no_line",   "cut_line",   "unsure_digit",
                                          "check_digit", "two_lines", "bad_picture"};

static double cpu_ms(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int show(struct frame_maker *m, struct frame *f, uint64_t first, int count,
                enum frame_grade g) {
    for (int i = 0; i < count; i++) {
        frame_make(m, g, first + (uint64_t)i, f);
        (void)printf("P5\n%d %d\n255\n", FRAME_WIDTH, FRAME_HEIGHT);
        (void)fwrite(f->grey, 1, sizeof f->grey, stdout);
        (void)fprintf(stderr, "%s\n", f->truth[0] != '\0' ? f->truth : "-");
    }
    return fflush(stdout) == 0 ? 0 : 1;
}

static int answers(struct frame_maker *m, struct frame *f, void *room, uint64_t first, int count,
                   enum frame_grade g) {
    for (int i = 0; i < count; i++) {
        struct reader_result r;
        frame_make(m, g, first + (uint64_t)i, f);
        enum reader_reason why =
            reader_read(room, f->grey, FRAME_WIDTH, FRAME_HEIGHT, FRAME_WIDTH, &r);
        (void)printf("%d %s\n", (int)why, why == READER_OK ? r.digits : "-");
    }
    return 0;
}

int main(int argc, char **argv) {
    bool talk = argc > 1 && strcmp(argv[1], "-v") == 0;
    bool only_show = argc > 1 && strcmp(argv[1], "-s") == 0;
    bool only_answers = argc > 1 && strcmp(argv[1], "-r") == 0;
    argv += talk || only_show || only_answers;
    argc -= talk || only_show || only_answers;
    if (argc < 3) {
        (void)fprintf(stderr, "usage: measure [-v] FIRST_SEED COUNT [grade ...]\n");
        return 2;
    }
    uint64_t first = strtoull(argv[1], NULL, 10);
    int count = atoi(argv[2]), wrong_in_all = 0;
    struct frame_maker *m = frame_maker_open();
    static struct frame frame, *f = &frame; /* a megabyte */
    static void *room;
    room = malloc(reader_workspace_bytes(FRAME_WIDTH, FRAME_HEIGHT));
    if (m == NULL || room == NULL)
        abort();
    for (int g = 0; g < FRAME_GRADES; g++) {
        bool wanted = argc == 3;
        for (int i = 3; i < argc; i++)
            wanted |= strcmp(argv[i], frame_grade_name[g]) == 0;
        if (!wanted)
            continue;
        if (only_answers)
            return answers(m, f, room, first, count, (enum frame_grade)g);
        if (only_show)
            return show(m, f, first, count, (enum frame_grade)g);
        int by[7] = {0}, wrong = 0;
        double spent = 0;
        for (int i = 0; i < count; i++) {
            struct reader_result r;
            frame_make(m, (enum frame_grade)g, first + (uint64_t)i, f);
            double start = cpu_ms();
            enum reader_reason why =
                reader_read(room, f->grey, FRAME_WIDTH, FRAME_HEIGHT, FRAME_WIDTH, &r);
            spent += cpu_ms() - start;
            by[why]++;
            bool bad = why == READER_OK && strcmp(r.digits, f->truth) != 0;
            wrong += bad;
            if (bad)
                by[READER_OK]--;
            if (bad || (talk && why != READER_OK))
                (void)printf("  %s seed %llu: %s, is %s, read %s at %d (%d)\n", frame_grade_name[g],
                             (unsigned long long)first + (unsigned long long)i,
                             bad ? "WRONG" : reason_name[why], f->truth, r.digits, r.unsure,
                             r.confidence[r.unsure]);
        }
        (void)printf("%-8s %d frames: read %d (%.2f %%), wrong %d;", frame_grade_name[g], count,
                     by[READER_OK], 100.0 * by[READER_OK] / count, wrong);
        for (int w = 1; w < 7; w++) {
            if (by[w] > 0)
                (void)printf(" %s %d", reason_name[w], by[w]);
        }
        (void)printf("; %.1f ms a frame\n", spent / count);
        (void)fflush(stdout);
        wrong_in_all += wrong;
    }
    frame_maker_close(m);
    free(room);
    return wrong_in_all > 0;
}
