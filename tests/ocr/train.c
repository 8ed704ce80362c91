// needs: tests/ocr/frame.c ocr-ingest/reader_digit.c
/* Trains the two digit networks of ocr-ingest/reader_digit.c and writes ocr-ingest/reader_weights.h.
 *
 *     build/bin/reader-train SEED FRAMES EPOCHS > ocr-ingest/reader_weights.h
 *
 * Patches come from synthetic frames (frame.h) of seeds from 1 up; tests measure on seeds from
 * 10⁹ up, so that nothing is measured on what it was trained with.  Plain stochastic gradient
 * descent with momentum, one hidden layer, weights rounded to 8 bits at the end. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ocr-ingest/reader_private.h"
#include "tests/ocr/frame.h"

enum { HIDDEN = 96 };

struct sample {
    float patch[PATCH];
    int class;
};

static uint64_t random_state;

static uint64_t next(void) {
    uint64_t z = random_state += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

static float uniform(float low, float high) {
    return low + (high - low) * (float)(next() >> 40) / (float)(1 << 24);
}

/* The cell as the finder would give it: a little beside, a little too large. */
static void shake(struct cell *c) {
    float along = uniform(-0.11F, 0.11F), across = uniform(-0.09F, 0.09F);
    float wide = uniform(0.95F, 1.05F), high = uniform(0.92F, 1.10F), turn = uniform(-0.03F, 0.03F);
    c->x += 2 * (along * c->ax + across * c->hx);
    c->y += 2 * (along * c->ay + across * c->hy);
    float ax = c->ax * wide - c->ay * turn, ay = c->ay * wide + c->ax * turn;
    float hx = c->hx * high - c->hy * turn, hy = c->hy * high + c->hx * turn;
    *c = (struct cell){c->x, c->y, ax, ay, hx, hy};
}

/* Dirt over a digit: so much that it is none any more. */
static void spoil(float patch[PATCH]) {
    float tone = uniform(-2.5F, 2.5F);
    int w = 4 + (int)(next() % 8), h = 5 + (int)(next() % 10);
    int x = (int)(next() % (uint64_t)(PATCH_W - w + 1)),
        y = 2 + (int)(next() % (uint64_t)(PATCH_H - h - 2));
    for (int j = y; j < y + h; j++) {
        for (int i = x; i < x + w; i++)
            patch[j * PATCH_W + i] = tone + uniform(-0.2F, 0.2F);
    }
    float sum = 0, square = 0;
    for (int i = 0; i < PATCH; i++) {
        sum += patch[i];
        square += patch[i] * patch[i];
    }
    float mean = sum / PATCH, spread = sqrtf(square / PATCH - mean * mean + 1e-6F);
    for (int i = 0; i < PATCH; i++)
        patch[i] = (patch[i] - mean) / spread;
}

struct samples {
    struct sample *list;
    size_t count, cap;
};

static void keep(struct samples *s, const float patch[PATCH], int class) {
    if (s->count == s->cap)
        return;
    memcpy(s->list[s->count].patch, patch, sizeof s->list->patch);
    s->list[s->count++].class = class;
}

static void from_frame(const struct frame *f, struct samples *s) {
    const struct picture p = {f->grey, FRAME_WIDTH, FRAME_HEIGHT, FRAME_WIDTH};
    float patch[PATCH];
    if (f->shown[0] == '\0') { /* anything at all of a negative frame */
        for (int i = 0; i < 8; i++) {
            float h = uniform(6, 40);
            struct cell c = {uniform(60, 1220), uniform(60, 660), h * 0.46F, 0, 0, h / 2};
            if (take_patch(&p, &c, patch) && next() % 3 == 0)
                keep(s, patch, CLASS_OTHER);
        }
        return;
    }
    for (int i = 0; i < FRAME_DIGITS; i++) {
        const struct frame_cell *fc = &f->cell[i];
        struct cell c = {fc->x, fc->y, fc->ax, fc->ay, fc->hx, fc->hy}, beside = c;
        bool digit = f->shown[i] >= '0' && f->shown[i] <= '9';
        for (int look = 0; look < 2 && fc->whole; look++) { /* frames are dear, looks are not */
            c = beside;
            shake(&c);
            if (!take_patch(&p, &c, patch))
                continue;
            keep(s, patch, digit ? f->shown[i] - '0' : CLASS_OTHER);
            if (next() % 20 == 0) {
                spoil(patch);
                keep(s, patch, CLASS_OTHER);
            }
        }
        /* Between two digits, above, below, too large, too small. */
        uint64_t how = next() % 16;
        float along = how == 0 ? uniform(0.36F, 0.64F) : 0, across = how == 1 ? uniform(0.45F, 1)
                                                                     : how == 2
                                                                         ? uniform(-1, -0.45F)
                                                                         : 0;
        float size = how == 3 ? uniform(1.6F, 2.4F) : how == 4 ? uniform(0.35F, 0.6F) : 1;
        beside.x += 2 * (along * c.ax + across * c.hx);
        beside.y += 2 * (along * c.ay + across * c.hy);
        beside.ax *= size, beside.ay *= size, beside.hx *= size, beside.hy *= size;
        if (how < 5 && take_patch(&p, &beside, patch))
            keep(s, patch, CLASS_OTHER);
    }
    /* Paper, and whatever stands there, beside the line. */
    for (int side = 0; side < 2; side++) {
        const struct frame_cell *e = &f->cell[side == 0 ? 0 : FRAME_DIGITS - 1];
        float far = (side == 0 ? -1.0F : 1.0F) * uniform(0.85F, 1.6F);
        struct cell c = {
            e->x + 2 * far * e->ax, e->y + 2 * far * e->ay, e->ax, e->ay, e->hx, e->hy};
        if (e->whole && take_patch(&p, &c, patch))
            keep(s, patch, CLASS_OTHER);
    }
}

struct network {
    /* By pixel, as in reader_weights.h: the inner loops go over the hidden units. */
    float in[PATCH][HIDDEN], in_bias[HIDDEN], out[CLASSES][HIDDEN], out_bias[CLASSES];
};

/* Wider vectors where the machine has them; the order of additions, and so the result, is the same. */
__attribute__((target_clones("avx2", "default"))) static void
step(struct network *n, struct network *v, const struct sample *s, float rate, double *loss,
     size_t *right) {
    float hidden[HIDDEN], slope[HIDDEN], o[CLASSES], top = -1e9F, sum = 0, back[HIDDEN] = {0};
    memcpy(hidden, n->in_bias, sizeof hidden);
    for (int i = 0; i < PATCH; i++) {
        for (int h = 0; h < HIDDEN; h++)
            hidden[h] += n->in[i][h] * s->patch[i];
    }
    for (int h = 0; h < HIDDEN; h++) {
        slope[h] = hidden[h] > 0 ? 1 : 0.01F;
        hidden[h] *= slope[h];
    }
    int best = 0;
    for (int c = 0; c < CLASSES; c++) {
        o[c] = n->out_bias[c];
        for (int h = 0; h < HIDDEN; h++)
            o[c] += n->out[c][h] * hidden[h];
        if (o[c] > top)
            top = o[c], best = c;
    }
    for (int c = 0; c < CLASSES; c++)
        sum += o[c] = expf(o[c] - top);
    *loss -= log((double)(o[s->class] / sum) + 1e-12);
    *right += best == s->class;
    for (int c = 0; c < CLASSES; c++) {
        float want = c == s->class ? 0.998F : 0.0002F;
        float d = o[c] / sum - want;
        for (int h = 0; h < HIDDEN; h++) {
            back[h] += d * n->out[c][h];
            v->out[c][h] = 0.9F * v->out[c][h] - rate * (d * hidden[h] + 1e-5F * n->out[c][h]);
            n->out[c][h] += v->out[c][h];
        }
        v->out_bias[c] = 0.9F * v->out_bias[c] - rate * d;
        n->out_bias[c] += v->out_bias[c];
    }
    for (int h = 0; h < HIDDEN; h++) {
        back[h] *= slope[h];
        n->in_bias[h] -= 4 * rate * back[h];
    }
    for (int i = 0; i < PATCH; i++) {
        for (int h = 0; h < HIDDEN; h++)
            n->in[i][h] -= 4 * rate * (back[h] * s->patch[i] + 1e-6F * n->in[i][h]);
    }
}

static void train(struct network *n, struct samples *s, int epochs) {
    static struct network v;
    memset(&v, 0, sizeof v);
    for (int h = 0; h < HIDDEN; h++) {
        for (int i = 0; i < PATCH; i++)
            n->in[i][h] = uniform(-1, 1) * 0.08F;
        n->in_bias[h] = 0;
    }
    for (int c = 0; c < CLASSES; c++) {
        for (int h = 0; h < HIDDEN; h++)
            n->out[c][h] = uniform(-1, 1) * 0.2F;
        n->out_bias[c] = 0;
    }
    for (int e = 0; e < epochs; e++) {
        float rate = 0.003F * powf(0.02F, (float)e / (float)epochs);
        double loss = 0;
        size_t right = 0;
        for (size_t i = 0; i < s->count; i++)
            step(n, &v, &s->list[next() % s->count], rate, &loss, &right);
        (void)fprintf(stderr, "epoch %d loss %.5f right %.5f\n", e, loss / (double)s->count,
                      (double)right / (double)s->count);
    }
}

/* A unit's weights in 8 bits: its n inputs stand `every` apart.  Returns the scale. */
static float round_unit(const float *w, int n, int every, int8_t *out) {
    float top = 1e-9F;
    for (int i = 0; i < n; i++)
        top = fmaxf(top, fabsf(w[i * every]));
    for (int i = 0; i < n; i++)
        out[i * every] = (int8_t)lrintf(w[i * every] / top * 127);
    return top / 127;
}

static void print_bytes(const int8_t *v, int n) {
    for (int i = 0; i < n; i++)
        (void)printf("%s%d%s", i == 0 ? "{" : "", v[i], i + 1 < n ? "," : "},\n");
}

static void print_floats(const float *v, int n) {
    (void)printf("{");
    for (int i = 0; i < n; i++)
        (void)printf("%.6eF%s", (double)v[i], i + 1 < n ? "," : "},\n");
}

static void print_network(const struct network *n) {
    static int8_t in[PATCH][HIDDEN], out[CLASSES][HIDDEN];
    float in_scale[HIDDEN], out_scale[CLASSES];
    for (int h = 0; h < HIDDEN; h++)
        in_scale[h] = round_unit(&n->in[0][h], PATCH, HIDDEN, &in[0][h]);
    for (int c = 0; c < CLASSES; c++)
        out_scale[c] = round_unit(n->out[c], HIDDEN, 1, out[c]);
    (void)printf("{{");
    for (int i = 0; i < PATCH; i++)
        print_bytes(in[i], HIDDEN);
    (void)printf("},{");
    for (int c = 0; c < CLASSES; c++)
        print_bytes(out[c], HIDDEN);
    (void)printf("},");
    print_floats(in_scale, HIDDEN);
    print_floats(n->in_bias, HIDDEN);
    print_floats(out_scale, CLASSES);
    print_floats(n->out_bias, CLASSES);
    (void)printf("},\n");
}

/* One network, from frames of its own; its text goes to standard output. */
static int make_network(uint64_t seed, int k, int frames, int epochs) {
    /* Letters are rare in the field; here they are not, so that the networks expect them. */
    static const enum frame_grade mix[] = {
        FRAME_TYPICAL, FRAME_POOR, FRAME_HARD,    FRAME_LETTERS, FRAME_POOR,    FRAME_LETTERS,
        FRAME_GOOD,    FRAME_POOR, FRAME_LETTERS, FRAME_HARD,    FRAME_LETTERS, FRAME_NEGATIVE};
    static struct network n;
    struct frame_maker *m = frame_maker_open();
    struct frame *f = malloc(sizeof *f);
    struct samples s = {.cap = (size_t)frames * 60};
    s.list = calloc(s.cap, sizeof *s.list);
    if (m == NULL || f == NULL || s.list == NULL)
        abort();
    random_state = seed * 1000003 + (uint64_t)k;
    for (int i = 0; i < frames; i++) {
        frame_make(m, mix[i % (int)(sizeof mix / sizeof *mix)],
                   (seed * 2 + (uint64_t)k) * 1000000 + (uint64_t)i, f);
        from_frame(f, &s);
    }
    (void)fprintf(stderr, "network %d: %zu samples\n", k, s.count);
    train(&n, &s, epochs);
    print_network(&n);
    frame_maker_close(m);
    free(s.list);
    free(f);
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}

/* The networks do not know of each other: each in a process of its own, side by side. */
int main(int argc, char **argv) {
    enum { NETWORKS = 2 };
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    int frames = argc > 2 ? atoi(argv[2]) : 3000, epochs = argc > 3 ? atoi(argv[3]) : 12;
    FILE *text[NETWORKS];
    for (int k = 0; k < NETWORKS; k++) {
        text[k] = tmpfile();
        pid_t child = text[k] == NULL ? -1 : fork();
        if (child == 0)
            _exit(dup2(fileno(text[k]), STDOUT_FILENO) < 0 ? 1
                                                           : make_network(seed, k, frames, epochs));
        if (child < 0)
            abort();
    }
    for (int k = 0, status; k < NETWORKS; k++) {
        if (wait(&status) < 0 || status != 0)
            abort();
    }
    (void)printf("/* Made by tests/ocr/train.c, seed %llu, %d frames, %d epochs: do not edit. */\n"
                 "// clang-format off\n"
                 "enum { READER_HIDDEN = %d };\n"
                 "static const struct reader_network {\n"
                 "    int8_t in[PATCH][READER_HIDDEN], out[CLASSES][READER_HIDDEN];\n"
                 "    float in_scale[READER_HIDDEN], in_bias[READER_HIDDEN], out_scale[CLASSES], "
                 "out_bias[CLASSES];\n"
                 "} reader_network[%d] = {\n",
                 (unsigned long long)seed, frames, epochs, HIDDEN, NETWORKS);
    for (int k = 0; k < NETWORKS; k++) {
        rewind(text[k]);
        for (int c; (c = getc(text[k])) != EOF;)
            (void)putchar(c);
        if (ferror(text[k]) || fclose(text[k]) != 0)
            abort();
    }
    (void)printf("};\n// clang-format on\n");
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
