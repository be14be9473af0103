/* SPDX-License-Identifier: Apache-2.0 */
/* lc_object.c - verify, optimise and assemble a module with LLVM.
**
** Kernels are emitted in their final shape, so only cheap passes run: variables
** to SSA, common subexpressions, loop-invariant code.  Nothing here may turn a
** loop into a library call or reorder floating-point sums. */
#include "backends/llvm_cpu/lc_object.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <pthread.h>
#include <string.h>

#define PASSES \
  "function(sroa,early-cse,instcombine<no-verify-fixpoint>,simplifycfg," \
  "loop-mssa(loop-rotate,licm),early-cse)"

/* The target that this library was built for. */
static void init_targets(void) {
  VL_CHECK(!LLVMInitializeNativeTarget() && !LLVMInitializeNativeAsmPrinter(),
           "LLVM lacks the native target");
}

static VlStatus failed(Diag *d, const char *stage, const char *why) {
  VlStatus s =
      diag_error(d, DIAG_CODEGEN, DIAG_NOWHERE, "machine code could not be made (%s)", stage);
  diag_found(d, "%s", why ? why : "no reason given");
  diag_note(d, "this is a fault of vlpc: please report it with the model");
  return s;
}

/* Takes an LLVM message; frees it. */
static VlStatus failed_with(Diag *d, const char *stage, char *message) {
  VlStatus s = failed(d, stage, message);
  LLVMDisposeMessage(message);
  return s;
}

static void on_diagnostic(LLVMDiagnosticInfoRef info, void *d) {
  if (LLVMGetDiagInfoSeverity(info) != LLVMDSError) return;
  VL_IGNORE(failed_with(d, "LLVM", LLVMGetDiagInfoDescription(info))); /* seen by the caller */
}

static VlStatus machine(const LcTarget *t, Diag *d, LLVMTargetMachineRef *out) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, init_targets);
  LLVMTargetRef target;
  char *message = NULL;
  if (LLVMGetTargetFromTriple(t->triple, &target, &message))
    return failed_with(d, "target", message);
  *out = LLVMCreateTargetMachine(target, t->triple, t->cpu, t->features, LLVMCodeGenLevelDefault,
                                 LLVMRelocPIC, LLVMCodeModelSmall);
  return *out ? VLPC_OK : failed(d, "target", t->features);
}

static VlStatus optimise(Lb *m, LLVMTargetMachineRef tm, Diag *d) {
  char *message = NULL;
  if (LLVMVerifyModule(m->mod, LLVMReturnStatusAction, &message))
    return failed_with(d, "verifier", message);
  LLVMDisposeMessage(message);
  LLVMPassBuilderOptionsRef o = LLVMCreatePassBuilderOptions();
  LLVMErrorRef error = LLVMRunPasses(m->mod, PASSES, tm, o);
  LLVMDisposePassBuilderOptions(o);
  if (!error) return VLPC_OK;
  char *text = LLVMGetErrorMessage(error);
  VlStatus s = failed(d, "passes", text);
  LLVMDisposeErrorMessage(text);
  return s;
}

/* The module as an object or assembly text; the buffer is the caller's. */
static VlStatus generate(Lb *m, LLVMCodeGenFileType type, Diag *d, LLVMMemoryBufferRef *out) {
  LLVMTargetMachineRef tm;
  VL_TRY(machine(m->target, d, &tm));
  LLVMContextSetDiagnosticHandler(m->cx, on_diagnostic, d);
  LLVMSetTarget(m->mod, m->target->triple);
  LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(tm);
  LLVMSetModuleDataLayout(m->mod, layout);
  LLVMDisposeTargetData(layout);
  int before = diag_count(d);
  VlStatus s = optimise(m, tm, d);
  char *message = NULL;
  if (s == VLPC_OK && LLVMTargetMachineEmitToMemoryBuffer(tm, m->mod, type, &message, out))
    s = failed_with(d, "assembler", message);
  else if (s == VLPC_OK && diag_count(d) > before) {
    LLVMDisposeMemoryBuffer(*out);
    s = VLPC_E_CODEGEN;
  }
  LLVMDisposeTargetMachine(tm);
  return s;
}

static void free_buffer(void *b) { LLVMDisposeMemoryBuffer(b); }
static void free_text(void *t) { LLVMDisposeMessage(t); }

VlStatus lc_assemble(Lb *m, Arena *a, Diag *d, LcObject *out) {
  LLVMMemoryBufferRef object;
  VL_TRY(generate(m, LLVMObjectFile, d, &object));
  arena_defer(a, free_buffer, object);
  size_t n = LLVMGetBufferSize(object);
  *out = (LcObject){memcpy(arena_array(a, uint8_t, n), LLVMGetBufferStart(object), n), n};
  return VLPC_OK;
}

VlStatus lc_listing(Lb *m, bool assembly, Arena *a, Diag *d, const char **out) {
  LLVMMemoryBufferRef text;
  VL_TRY(generate(m, LLVMAssemblyFile, d, &text));
  arena_defer(a, free_buffer, text);
  char *ir = LLVMPrintModuleToString(m->mod);
  arena_defer(a, free_text, ir);
  *out = assembly ? arena_strndup(a, LLVMGetBufferStart(text), LLVMGetBufferSize(text)) : ir;
  return VLPC_OK;
}
