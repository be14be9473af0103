/* SPDX-License-Identifier: Apache-2.0 */
/* amx.c - AMX-TILE and AMX-BF16 as Intel SDM 2 describes them, one instruction a signal. */
#include "tests/device/amx.h"

#include "base/cpu.h"

#ifdef __x86_64__

#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <ucontext.h>

#include "base/dtype.h"

enum { TILES = 8, ROWS = 16, ROW_BYTES = 64 };

/* As LDTILECFG reads it. */
typedef struct {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
} Config;

_Static_assert(sizeof(Config) == 64, "a tile configuration is 64 bytes");

static _Thread_local Config config;
static _Thread_local uint8_t tile[TILES][ROWS][ROW_BYTES];
static atomic_uint_fast64_t products;

/* ---- arithmetic ------------------------------------------------------------ */

/* What is below the normal numbers is zero, going in and coming out. */
static float flush(float x) { return fpclassify(x) == FP_SUBNORMAL ? copysignf(0, x) : x; }

static float element(const uint8_t *row, int i) {
  uint16_t bits;
  memcpy(&bits, row + 2 * i, 2);
  return flush(bf16_to_f32(bits));
}

static bool dot(int to, int a, int b) {
  int rows = config.rows[to], pairs = config.row_bytes[a] / 4, columns = config.row_bytes[to] / 4;
  if (rows != config.rows[a] || pairs != config.rows[b] ||
      config.row_bytes[to] != config.row_bytes[b])
    return false;
  for (int m = 0; m < rows; m++)
    for (int n = 0; n < columns; n++) {
      float half[2] = {0, 0}, sum;
      for (int k = 0; k < pairs; k++)
        for (int i = 0; i < 2; i++)
          half[i] = flush(
              fmaf(element(tile[a][m], 2 * k + i), element(tile[b][k], 2 * n + i), half[i]));
      memcpy(&sum, tile[to][m] + 4 * n, 4);
      sum = flush(flush(sum) + flush(half[0] + half[1]));
      memcpy(tile[to][m] + 4 * n, &sum, 4);
    }
  atomic_fetch_add(&products, 1);
  return true;
}

/* ---- instructions ---------------------------------------------------------- */

/* VEX with three bytes: C4, R X B map, W vvvv L pp, opcode, ModRM … */
typedef struct {
  const uint8_t *next;
  int pp, opcode, mod, reg, rm; /* reg, rm: without the bits of the prefix */
  int x, b, vvvv;
} Code;

static bool read_code(const uint8_t *at, Code *c) {
  if (at[0] != 0xc4 || (at[1] & 0x1f) != 2 || (at[2] & 0x84) != 0) return false;
  *c = (Code){.next = at + 5, .pp = at[2] & 3, .opcode = at[3], .mod = at[4] >> 6,
              .reg = at[4] >> 3 & 7, .rm = at[4] & 7};
  c->x = !(at[1] & 0x40), c->b = !(at[1] & 0x20);
  c->vvvv = ~(at[2] >> 3) & 15;
  return true;
}

static uint64_t reg_of(const ucontext_t *u, int number) {
  static const int at[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                             REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                             REG_R12, REG_R13, REG_R14, REG_R15};
  return (uint64_t)u->uc_mcontext.gregs[at[number]];
}

static int64_t displacement(Code *c, bool wide) {
  int32_t far = 0;
  if (!wide) return (int8_t)*c->next++;
  memcpy(&far, c->next, 4);
  c->next += 4;
  return far;
}

/* The address of a memory operand; *pitch: what its index register says, one for each row. */
static uint8_t *address(Code *c, const ucontext_t *u, uint64_t *pitch) {
  uint64_t at = 0;
  bool wide = c->mod == 2;
  *pitch = 0;
  if (c->rm == 4) {
    int sib = *c->next++, index = (sib >> 3 & 7) | c->x << 3, base = (sib & 7) | c->b << 3;
    if (index != 4) *pitch = reg_of(u, index) << (sib >> 6);
    if ((sib & 7) == 5 && c->mod == 0) wide = true;
    else at = reg_of(u, base);
    if (c->mod != 0 || wide) at += (uint64_t)displacement(c, wide);
  } else if (c->mod == 0 && c->rm == 5) { /* from the next instruction: none has an immediate */
    int64_t far = displacement(c, true);
    at = (uint64_t)(uintptr_t)c->next + (uint64_t)far;
  } else {
    at = reg_of(u, c->rm | c->b << 3);
    if (c->mod != 0) at += (uint64_t)displacement(c, wide);
  }
  return (uint8_t *)at;
}

static bool configure(const uint8_t *from) {
  memcpy(&config, from, sizeof config);
  memset(tile, 0, sizeof tile);
  for (int i = 0; i < TILES; i++)
    if (config.rows[i] > ROWS || config.row_bytes[i] > ROW_BYTES ||
        !config.rows[i] != !config.row_bytes[i])
      return false;
  return config.palette == 1 && config.start_row == 0;
}

static bool release(void) {
  memset(&config, 0, sizeof config);
  memset(tile, 0, sizeof tile);
  return true;
}

static bool zero(int t) {
  memset(tile[t], 0, sizeof tile[t]);
  return config.rows[t] > 0;
}

static bool load(int t, const uint8_t *at, uint64_t pitch) {
  memset(tile[t], 0, sizeof tile[t]);
  for (int i = 0; i < config.rows[t]; i++)
    memcpy(tile[t][i], at + (uint64_t)i * pitch, config.row_bytes[t]);
  return config.rows[t] > 0;
}

static bool store(int t, uint8_t *at, uint64_t pitch) {
  for (int i = 0; i < config.rows[t]; i++)
    memcpy(at + (uint64_t)i * pitch, tile[t][i], config.row_bytes[t]);
  return config.rows[t] > 0;
}

enum { PP_NONE, PP_66, PP_F3, PP_F2 };

static bool run(Code *c, const ucontext_t *u) {
  uint64_t pitch;
  bool is_register = c->mod == 3;
  if (c->opcode == 0x5c && c->pp == PP_F3 && is_register) return dot(c->reg, c->rm, c->vvvv);
  if (c->opcode == 0x49 && c->pp == PP_F2 && is_register) return zero(c->reg);
  if (c->opcode == 0x49 && c->pp == PP_NONE)
    return is_register ? release() : configure(address(c, u, &pitch));
  if (c->opcode != 0x4b || is_register || c->rm != 4 || c->pp == PP_NONE) return false;
  uint8_t *at = address(c, u, &pitch);
  return c->pp == PP_F3 ? store(c->reg, at, pitch) : load(c->reg, at, pitch);
}

static void on_illegal(int number, siginfo_t *info, void *context) {
  ucontext_t *u = context;
  Code c;
  (void)info;
  const uint8_t *at = (const uint8_t *)u->uc_mcontext.gregs[REG_RIP];
  if (read_code(at, &c) && run(&c, u)) {
    u->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)c.next;
    return;
  }
  signal(number, SIG_DFL); /* comes again, and ends the process */
}

/* The handler is set each time: cmocka has its own for each test. */
bool amx_runs(void) {
  static CpuIsa best = ISA__COUNT; /* asked for once, as in llvm_kit.c */
  struct sigaction act = {.sa_sigaction = on_illegal, .sa_flags = SA_SIGINFO};
  if (best == ISA__COUNT) best = cpu_isa_best();
  if (best >= ISA_AMX) return true;
  if (best < ISA_AVX512_BF16) return false;
  return sigaction(SIGILL, &act, NULL) == 0;
}

uint64_t amx_products(void) { return atomic_load(&products); }

#else

bool amx_runs(void) { return false; }
uint64_t amx_products(void) { return 0; }

#endif
