// needs: tests/ocr/frame.c
/* Reads synthetic frames and counts: read, refused (and why), wrong.
 *
 *     build/bin/reader-measure FIRST_SEED COUNT [grade …]        exit 1 when a reading was wrong
 *
 * One line a grade.  -v prints every frame that was not read; -u takes what the reader is not sure
 * of for read, too: the control of the tests, which must be wrong somewhere.
 *
 *     build/bin/reader-measure -s SEED COUNT grade > frames.pgm     frames, one behind the other;
 *                                              what stands in them on standard error
 *     build/bin/reader-measure -l SEED COUNT grade > lines.pgm      only the line, cut out upright
 *     build/bin/reader-measure -r SEED COUNT grade                  reason, digits, ms: a line a frame
 *     build/bin/reader-measure -i < frames.pgm                      the same for frames of -s, each
 *                                                                   answered when it came */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ocr-ingest/reader.h"
#include "tests/ocr/frame.h"

/* A line for another reader: 18 cells and one of paper on both sides, digits 32 pixels high. */
enum { CELL = 30, DIGIT = 32, LINE_WIDTH = (FRAME_DIGITS + 2) * CELL, LINE_HEIGHT = 2 * DIGIT };

static const char *const reason_name[] = {"ok",          "no_line",   "cut_line",   "unsure_digit",
                                          "check_digit", "two_lines", "bad_picture"};
static struct frame frame; /* a megabyte */
static void *room;

static double cpu_ms(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static enum reader_reason read_frame(struct reader_result *r, double *ms) {
    double start = cpu_ms();
    enum reader_reason why =
        reader_read(room, frame.grey, FRAME_WIDTH, FRAME_HEIGHT, FRAME_WIDTH, r);
    *ms = cpu_ms() - start;
    return why;
}

static void say_answer(void) {
    struct reader_result r;
    double ms;
    enum reader_reason why = read_frame(&r, &ms);
    (void)printf("%d %s %.2f\n", (int)why, why == READER_OK ? r.digits : "-", ms);
    (void)fflush(stdout);
}

static void write_picture(const uint8_t *grey, int width, int height) {
    (void)printf("P5\n%d %d\n255\n", width, height);
    (void)fwrite(grey, 1, (size_t)width * (size_t)height, stdout);
    (void)fprintf(stderr, "%s\n", frame.truth[0] != '\0' ? frame.truth : "-");
}

/* Between four pixels; the picture's edge goes on outside it. */
static float grey_at(float x, float y) {
    x = fminf(fmaxf(x, 0), FRAME_WIDTH - 1.001F);
    y = fminf(fmaxf(y, 0), FRAME_HEIGHT - 1.001F);
    int i = (int)x, j = (int)y;
    float u = x - (float)i, v = y - (float)j;
    const uint8_t *p = &frame.grey[j * FRAME_WIDTH + i];
    float top = (float)p[0] + u * (float)(p[1] - p[0]);
    float low = (float)p[FRAME_WIDTH] + u * (float)(p[FRAME_WIDTH + 1] - p[FRAME_WIDTH]);
    return top + v * (low - top);
}

static void write_line(void) {
    static uint8_t line[LINE_WIDTH * LINE_HEIGHT];
    for (int y = 0; y < LINE_HEIGHT; y++) {
        for (int x = 0; x < LINE_WIDTH; x++) {
            float sum = 0;
            for (int fine = 0; fine < 4; fine++) { /* a large digit is averaged */
                int right = fine % 2, down = fine / 2;
                float k = ((float)x + 0.25F + 0.5F * (float)right) / CELL - 1.5F;
                float v = ((float)y + 0.25F + 0.5F * (float)down) / DIGIT * 2 - 2;
                int i = k < 0 ? 0 : k > FRAME_DIGITS - 1 ? FRAME_DIGITS - 1 : (int)(k + 0.5F);
                const struct frame_cell *c = &frame.cell[i];
                float u = 2 * (k - (float)i);
                sum += grey_at(c->x + u * c->ax + v * c->hx, c->y + u * c->ay + v * c->hy);
            }
            line[y * LINE_WIDTH + x] = (uint8_t)(sum / 4);
        }
    }
    write_picture(line, LINE_WIDTH, LINE_HEIGHT);
}

static int from_input(void) {
    int width, height;
    while (scanf("P5 %d %d 255", &width, &height) == 2) {
        if (width != FRAME_WIDTH || height != FRAME_HEIGHT || getchar() != '\n' ||
            fread(frame.grey, 1, sizeof frame.grey, stdin) != sizeof frame.grey)
            return 2;
        say_answer();
    }
    return 0;
}

/* `count` frames of a grade, read and counted; returns how many were wrong. */
static int measure(struct frame_maker *m, enum frame_grade g, uint64_t first, int count, char how) {
    int by[7] = {0}, wrong = 0;
    double spent = 0;
    for (int i = 0; i < count; i++) {
        struct reader_result r;
        double ms;
        frame_make(m, g, first + (uint64_t)i, &frame);
        enum reader_reason why = read_frame(&r, &ms);
        spent += ms;
        if (how == 'u' && why == READER_UNSURE_DIGIT && strchr(r.digits, '?') == NULL)
            why = READER_OK;
        bool bad = why == READER_OK && strcmp(r.digits, frame.truth) != 0;
        wrong += bad;
        by[why] += !bad;
        if (bad || (how == 'v' && why != READER_OK))
            (void)printf("  %s seed %llu: %s, shown %s, read %s at %d (%d)\n", frame_grade_name[g],
                         (unsigned long long)first + (unsigned long long)i,
                         bad ? "WRONG" : reason_name[why], frame.shown, r.digits, r.unsure,
                         r.confidence[r.unsure]);
    }
    (void)printf("%-8s %d frames: read %d (%.2f %%), wrong %d;", frame_grade_name[g], count,
                 by[READER_OK], 100.0 * by[READER_OK] / count, wrong);
    for (int w = 1; w < 7; w++) {
        if (by[w] > 0)
            (void)printf(" %s %d,", reason_name[w], by[w]);
    }
    (void)printf(" %.1f ms a frame\n", spent / count);
    (void)fflush(stdout);
    return wrong;
}

/* Frames, their lines, or what is read of them: for other programs. */
static int give(struct frame_maker *m, enum frame_grade g, uint64_t first, int count, char how) {
    for (int i = 0; i < count; i++) {
        frame_make(m, g, first + (uint64_t)i, &frame);
        if (how == 's')
            write_picture(frame.grey, FRAME_WIDTH, FRAME_HEIGHT);
        else if (how == 'l')
            write_line();
        else
            say_answer();
    }
    return fflush(stdout) == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
    char how = argc > 1 && argv[1][0] == '-' ? argv[1][1] : 'm';
    room = malloc(reader_workspace_bytes(FRAME_WIDTH, FRAME_HEIGHT));
    if (room == NULL)
        abort();
    if (how == 'i')
        return from_input();
    argv += how != 'm';
    argc -= how != 'm';
    if (argc < 3 || strchr("mvuslr", how) == NULL) {
        (void)fprintf(stderr, "usage: measure [-v|-u|-s|-l|-r] FIRST_SEED COUNT [grade ...]\n");
        return 2;
    }
    uint64_t first = strtoull(argv[1], NULL, 10);
    int count = atoi(argv[2]), wrong = 0, status = 0;
    struct frame_maker *m = frame_maker_open();
    if (m == NULL)
        abort();
    for (int g = 0; g < FRAME_GRADES; g++) {
        bool wanted = argc == 3;
        for (int i = 3; i < argc; i++)
            wanted |= strcmp(argv[i], frame_grade_name[g]) == 0;
        if (wanted && strchr("slr", how) != NULL)
            status |= give(m, (enum frame_grade)g, first, count, how);
        else if (wanted)
            wrong += measure(m, (enum frame_grade)g, first, count, how);
    }
    frame_maker_close(m);
    free(room);
    return wrong > 0 ? 1 : status;
}
