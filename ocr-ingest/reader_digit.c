#include "ocr-ingest/reader_private.h"
#include "ocr-ingest/reader_weights.h"

/* A patch is that much larger than its cell. */
static const float WIDER = 1.3F, HIGHER = 1.45F;

/* e^x for x ≤ 0, good to 1e-4: no libm in wasm. */
static float exp_of(float x) {
    if (x < -30)
        return 0;
    float t = x * 1.44269504F;
    int n = (int)(t - 1);
    t -= (float)n; /* 0 … 1 above 2^n */
    float r = 1 + t * (0.6931472F +
                       t * (0.2402265F + t * (0.0555041F + t * (0.0096181F + t * 0.0013334F))));
    for (; n < 0; n++)
        r *= 0.5F;
    return r;
}

static float at(const struct picture *p, float x, float y) {
    int i = (int)x, j = (int)y;
    float u = x - (float)i, v = y - (float)j;
    const uint8_t *q = p->grey + (ptrdiff_t)j * p->stride + i;
    float top = (float)q[0] + u * (float)(q[1] - q[0]);
    float low = (float)q[p->stride] + u * (float)(q[p->stride + 1] - q[p->stride]);
    return top + v * (low - top);
}

float spread_in(const struct picture *p, const struct cell *c) {
    enum { ACROSS = 10, DOWN = 14, LEAST = 56 }; /* points; least: two fifths of them */
    float sum = 0, square = 0, n = 0;
    for (int j = 0; j < DOWN; j++) {
        for (int i = 0; i < ACROSS; i++) {
            float u = ((float)i + 0.5F) * 2 / ACROSS - 1, v = ((float)j + 0.5F) * 2 / DOWN - 1;
            float x = c->x + u * c->ax + v * c->hx, y = c->y + u * c->ay + v * c->hy;
            if (!(x > 1 && y > 1 && x < (float)p->width - 2 && y < (float)p->height - 2))
                continue;
            float s = at(p, x, y);
            sum += s;
            square += s * s;
            n++;
        }
    }
    if (n < LEAST)
        return -1;
    float mean = sum / n, var = square / n - mean * mean;
    return var > 0 ? __builtin_sqrtf(var) : 0; /* of white paper rounding makes it less than 0 */
}

bool in_picture(const struct picture *p, const struct cell *c) {
    float ax = WIDER * c->ax, ay = WIDER * c->ay, hx = HIGHER * c->hx, hy = HIGHER * c->hy;
    float reach_x = (ax < 0 ? -ax : ax) + (hx < 0 ? -hx : hx) + 2;
    float reach_y = (ay < 0 ? -ay : ay) + (hy < 0 ? -hy : hy) + 2;
    return c->x > reach_x && c->y > reach_y && c->x < (float)p->width - reach_x &&
           c->y < (float)p->height - reach_y;
}

bool take_patch(const struct picture *p, const struct cell *c, float out[PATCH]) {
    float sum = 0, square = 0, ax = WIDER * c->ax, ay = WIDER * c->ay, hx = HIGHER * c->hx,
          hy = HIGHER * c->hy;
    if (!in_picture(p, c))
        return false;
    /* A large digit is averaged, not skipped over. */
    float step = (hy < 0 ? -hy : hy) * 2 / PATCH_H;
    int fine = step < 1.5F ? 1 : step < 3 ? 2 : 3;
    for (int j = 0; j < PATCH_H; j++) {
        for (int i = 0; i < PATCH_W; i++) {
            float s = 0;
            for (int k = 0; k < fine * fine; k++) {
                int right = k % fine, down = k / fine;
                float u = ((float)i + ((float)right + 0.5F) / (float)fine) * 2 / PATCH_W - 1;
                float v = ((float)j + ((float)down + 0.5F) / (float)fine) * 2 / PATCH_H - 1;
                s += at(p, c->x + u * ax + v * hx, c->y + u * ay + v * hy);
            }
            s /= (float)(fine * fine);
            out[j * PATCH_W + i] = s;
            sum += s;
            square += s * s;
        }
    }
    float mean = sum / PATCH, spread = __builtin_sqrtf(square / PATCH - mean * mean + 1e-6F);
    if (!(spread > 3))
        return false;
    for (int i = 0; i < PATCH; i++)
        out[i] = (out[i] - mean) / spread;
    return true;
}

void classify(int network, const float patch[PATCH], float out[CLASSES]) {
    const struct reader_network *n = &reader_network[network];
    float hidden[READER_HIDDEN] = {0};
    for (int i = 0; i < PATCH;
         i++) { /* the inner loop has no order: compilers make vectors of it */
        for (int h = 0; h < READER_HIDDEN; h++)
            hidden[h] += (float)n->in[i][h] * patch[i];
    }
    for (int h = 0; h < READER_HIDDEN; h++) {
        float s = hidden[h] * n->in_scale[h] + n->in_bias[h];
        hidden[h] = s > 0 ? s : 0.01F * s;
    }
    for (int c = 0; c < CLASSES; c++) {
        float s = 0;
        for (int h = 0; h < READER_HIDDEN; h++)
            s += (float)n->out[c][h] * hidden[h];
        out[c] = s * n->out_scale[c] + n->out_bias[c];
    }
}

void chances(float v[CLASSES]) {
    float top = v[0], sum = 0;
    for (int c = 1; c < CLASSES; c++)
        top = v[c] > top ? v[c] : top;
    for (int c = 0; c < CLASSES; c++)
        sum += v[c] = exp_of(v[c] - top);
    for (int c = 0; c < CLASSES; c++)
        v[c] /= sum;
}
