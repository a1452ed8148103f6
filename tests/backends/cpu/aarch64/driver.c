// Runs plans of generated kernels on the machine it was built for: driver GIVEN MADE.
//
// GIVEN is words of 64 bits: where the words of the control block are, then plans (memory, buffers,
// steps); MADE is the status of each plan and what is in its memory afterwards.  The engine runs the
// steps on three threads, under a foreign control word that must be there again behind it.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef uint64_t word;

extern void *const hy_kernels[];    // the functions of all plans
extern void *const hy_functions[];  // what the engine asks of the C library
extern void *hy_worker(void *);
extern void hy_limit(void *, int64_t);
extern int64_t hy_plan(void *, void *, int64_t, void *, int64_t, int64_t *);

static word *given;

static word next(void) { return *given++; }

static void fail(const char *what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

static void *memory(word bytes) {  // as numpy's, at a multiple of 64
  void *made = aligned_alloc(64, (bytes + 127) / 64 * 64);
  if (!made) fail("no memory");
  return made;
}

// The number of a system call differs by instruction set: the engine's only one is futex.
long hy_syscall(long number, void *place, long operation, long value) {
  (void)number;
  return syscall(SYS_futex, place, operation, value, NULL, NULL, 0);
}

static void read_all(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END)) fail("nothing is given");
  long size = ftell(file);
  rewind(file);
  given = memory(size);
  if (fread(given, 1, size, file) != (size_t)size) fail("cannot read what is given");
  fclose(file);
}

static char *control(void) {
  char *ctl = memory(next());
  word bytes = given[-1];
  memset(ctl, 0, bytes);
  *(word *)(ctl + next()) = (word)hy_worker;
  pthread_attr_t *attributes = memory(sizeof(pthread_attr_t));
  pthread_attr_init(attributes);
  pthread_attr_setdetachstate(attributes, PTHREAD_CREATE_DETACHED);
  *(word *)(ctl + next()) = (word)attributes;
  word spin = next();
  *(word *)(ctl + spin) = next();
  *(word *)(ctl + next()) = ~(word)0;  // no step has failed
  memset(ctl + next(), 0xFF, 128);     // signals are the caller's
  word functions = next();
  for (word i = 0; i < functions; i++) *(word *)(ctl + next()) = (word)hy_functions[i];
  hy_limit(ctl, 2);
  return ctl;
}

static word control_word(void) {
  word now = 0;
#ifdef __aarch64__
  __asm__ volatile("mrs %0, fpcr" : "=r"(now));
#endif
  return now;
}

static void set_control_word(word now) {
#ifdef __aarch64__
  __asm__ volatile("msr fpcr, %0" ::"r"(now));
#endif
  (void)now;
}

static void run(char *ctl, FILE *made) {
  word blocks = next();
  char **starts = calloc(blocks + 1, sizeof(char *));
  word *sizes = calloc(blocks + 1, sizeof(word));
  for (word i = 0; i < blocks; i++) {
    sizes[i] = next();
    starts[i] = memory(sizes[i]);
    memcpy(starts[i], given, sizes[i]);
    given += (sizes[i] + 7) / 8;
  }
  word count = next();
  word *buffers = calloc(count + 1, sizeof(word));
  for (word i = 0; i < count; i++) {
    char *start = starts[next()];
    buffers[i] = (word)(start + next());
  }
  word steps = next(), need = 0;
  word *table = calloc(steps + 1, 48);
  for (word i = 0; i < steps; i++) {
    word *step = table + 6 * i;
    step[0] = (word)hy_kernels[next()];
    for (int k = 2; k < 5; k++) step[k] = next();  // items, grain, scratch
    if (step[4] > need) need = step[4];
    word words = next();
    step[1] = (word)given;
    given += words;
  }
  word foreign = 0x03C00000;  // toward zero, denormal numbers flushed, one NaN
  word before = control_word();
  int64_t failed = 0;
  set_control_word(foreign);
  word status = hy_plan(ctl, table, steps, buffers, need, &failed);
  word after = control_word();
  set_control_word(before);
#ifdef __aarch64__
  if (after != foreign) fail("the caller's control word is gone");
#else
  (void)after;
#endif
  fwrite(&status, 8, 1, made);
  for (word i = 0; i < blocks; i++) {
    fwrite(starts[i], 1, sizes[i], made);
    free(starts[i]);
  }
  free(starts), free(sizes), free(buffers), free(table);
}

int main(int argc, char **argv) {
  if (argc != 3) fail("driver GIVEN MADE");
  read_all(argv[1]);
  char *ctl = control();
  FILE *made = fopen(argv[2], "wb");
  if (!made) fail("nothing can be written");
  for (word plans = next(); plans; plans--) run(ctl, made);
  return fclose(made) != 0;
}
