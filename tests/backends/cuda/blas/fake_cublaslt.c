/* The functions of cuBLASLt that hybrid calls, over float32 in host memory: columns first, with
   transposed factors, leading dimensions, batches and a bias, as NVIDIA documents them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct { int compute, scale; int32_t turn_a, turn_b; uint32_t epilogue; const float *bias; } Desc;
typedef struct { int type; uint64_t rows, cols; int64_t ld; int32_t count; int64_t offset; } Layout;
typedef struct { uint64_t data[8]; } Algo;
typedef struct { Algo algo; size_t workspace; int state; float waves; int reserved[4]; } Result;
typedef struct { size_t workspace; uint32_t least[4]; } Preference;

int fake_alive = 0;

int cuCtxGetDevice(int *device) { *device = 0; return 0; }
int cublasLtCreate(void **handle) { *handle = (void *)0x10; return 0; }

int cublasLtMatmulDescCreate(Desc **desc, int compute, int scale) {
    *desc = calloc(1, sizeof(Desc));
    (*desc)->compute = compute;
    (*desc)->scale = scale;
    fake_alive++;
    return 0;
}

int cublasLtMatmulDescSetAttribute(Desc *desc, int attribute, const void *value, size_t size) {
    if (attribute == 3 && size == 4) memcpy(&desc->turn_a, value, 4);
    else if (attribute == 4 && size == 4) memcpy(&desc->turn_b, value, 4);
    else if (attribute == 7 && size == 4) memcpy(&desc->epilogue, value, 4);
    else if (attribute == 8 && size == 8) memcpy(&desc->bias, value, 8);
    else return 7;
    return 0;
}

int cublasLtMatmulDescDestroy(Desc *desc) { free(desc); fake_alive--; return 0; }

int cublasLtMatrixLayoutCreate(Layout **layout, int type, uint64_t rows, uint64_t cols, int64_t ld) {
    *layout = calloc(1, sizeof(Layout));
    **layout = (Layout){type, rows, cols, ld, 1, 0};
    fake_alive++;
    return ld < (int64_t)rows ? 7 : 0;
}

int cublasLtMatrixLayoutSetAttribute(Layout *layout, int attribute, const void *value, size_t size) {
    if (attribute == 5 && size == 4) memcpy(&layout->count, value, 4);
    else if (attribute == 6 && size == 8) memcpy(&layout->offset, value, 8);
    else return 7;
    return 0;
}

int cublasLtMatrixLayoutDestroy(Layout *layout) { free(layout); fake_alive--; return 0; }

int cublasLtMatmulPreferenceCreate(Preference **preference) {
    *preference = calloc(1, sizeof(Preference));
    fake_alive++;
    return 0;
}

int cublasLtMatmulPreferenceSetAttribute(Preference *p, int attribute, const void *value, size_t size) {
    if (attribute == 1 && size == 8) memcpy(&p->workspace, value, 8);
    else if (attribute >= 5 && attribute <= 8 && size == 4) memcpy(&p->least[attribute - 5], value, 4);
    else return 7;
    return 0;
}

int cublasLtMatmulPreferenceDestroy(Preference *p) { free(p); fake_alive--; return 0; }

static int fits(const Desc *desc, const Layout *a, const Layout *b, const Layout *d) {
    uint64_t m = d->rows, n = d->cols, k = desc->turn_a ? a->rows : a->cols;
    return (desc->turn_a ? a->cols : a->rows) == m && (desc->turn_b ? b->cols : b->rows) == k &&
           (desc->turn_b ? b->rows : b->cols) == n && a->count == b->count && a->count == d->count &&
           a->type == 0 && b->type == 0 && d->type == 0;
}

int cublasLtMatmulAlgoGetHeuristic(void *handle, Desc *desc, Layout *a, Layout *b, Layout *c, Layout *d,
                                   Preference *p, int wanted, Result *results, int *found) {
    *found = 0;
    if (handle != (void *)0x10 || wanted != 1 || c != d || !fits(desc, a, b, d)) return 7;
    if (p->workspace != 32 << 20 || !p->least[0]) return 7;
    memset(results, 0, sizeof(Result));
    results->algo.data[7] = 42;
    results->workspace = 4096;
    *found = 1;
    return 0;
}

int cublasLtMatmulAlgoCheck(void *handle, Desc *desc, Layout *a, Layout *b, Layout *c, Layout *d,
                            const Algo *algo, Result *result) {
    memset(result, 0, sizeof(Result));
    result->workspace = 4096;
    return algo->data[7] != 42 || !fits(desc, a, b, d) || c != d || a->ld == 999 ? 15 : 0;
}

int cublasLtMatmul(void *handle, Desc *desc, const float *alpha, const float *pa, Layout *a, const float *pb,
                   Layout *b, const float *beta, const float *pc, Layout *c, float *pd, Layout *d,
                   const Algo *algo, void *workspace, size_t bytes, void *stream) {
    if (*alpha != 1.0f || *beta != 0.0f || pc != pd || c != d || algo->data[7] != 42) return 7;
    if (!workspace || bytes != 4096 || stream != (void *)0x77 || desc->compute != 77 || desc->scale) return 7;
    uint64_t k = desc->turn_a ? a->rows : a->cols;
    for (int32_t batch = 0; batch < d->count; batch++)
        for (uint64_t i = 0; i < d->rows; i++)
            for (uint64_t j = 0; j < d->cols; j++) {
                float sum = 0;
                for (uint64_t x = 0; x < k; x++)
                    sum += pa[batch * a->offset + (desc->turn_a ? x + i * a->ld : i + x * a->ld)] *
                           pb[batch * b->offset + (desc->turn_b ? j + x * b->ld : x + j * b->ld)];
                if (desc->epilogue == 4) sum += desc->bias[i];
                pd[batch * d->offset + i + j * d->ld] = sum;
            }
    return 0;
}
