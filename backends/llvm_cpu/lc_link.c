/* SPDX-License-Identifier: Apache-2.0 */
/* lc_link.c - lays out an ELF64 object and resolves it against itself.
**
** Input is what LLVM just wrote in this process, so its structure is trusted;
** what it asks for is not: only read-only sections and references relative to
** their own place pass. */
#include "backends/llvm_cpu/lc_object.h"

#include <elf.h>
#include <string.h>

typedef struct {
  const uint8_t *at;
  const Elf64_Ehdr *head;
  const Elf64_Shdr *section;
  const char *names;  /* of sections */
  const Elf64_Sym *symbol;
  uint32_t n_symbols;
  const char *symbol_names;
  uint64_t *place; /* section → offset in the image */
  Diag *diag;
  LcImage *image;
} Link;

static VlStatus refuse(Link *l, const char *what, const char *name) {
  VlStatus s = diag_error(l->diag, DIAG_CODEGEN, DIAG_NOWHERE,
                          "machine code could not be made (linker): %s", what);
  diag_found(l->diag, "%s", name);
  diag_note(l->diag, "this is a fault of vlpc: please report it with the model");
  return s;
}

static const char *section_name(const Link *l, uint32_t i) {
  return l->names + l->section[i].sh_name;
}

/* Unwind tables are allocated but never read: no code here unwinds. */
static bool is_code_or_data(const Link *l, uint32_t i) {
  const Elf64_Shdr *s = &l->section[i];
  return (s->sh_flags & SHF_ALLOC) != 0 && s->sh_size != 0 &&
         strcmp(section_name(l, i), ".eh_frame") != 0;
}

static VlStatus lay_out(Link *l, Arena *a) {
  uint64_t end = 0;
  l->place = arena_array(a, uint64_t, l->head->e_shnum);
  for (uint32_t i = 0; i < l->head->e_shnum; i++) {
    const Elf64_Shdr *s = &l->section[i];
    if (!is_code_or_data(l, i)) continue;
    if ((s->sh_flags & SHF_WRITE) != 0 || s->sh_type != SHT_PROGBITS)
      return refuse(l, "a writable section", section_name(l, i));
    l->place[i] = vl_align_up(end, VL_MAX(s->sh_addralign, 64));
    end = l->place[i] + s->sh_size;
  }
  l->image->n = vl_align_up(end, 64);
  l->image->at = arena_array(a, uint8_t, l->image->n);
  for (uint32_t i = 0; i < l->head->e_shnum; i++)
    if (is_code_or_data(l, i))
      memcpy(l->image->at + l->place[i], l->at + l->section[i].sh_offset, l->section[i].sh_size);
  return VLPC_OK;
}

static void find_symbols(Link *l) {
  for (uint32_t i = 0; i < l->head->e_shnum; i++) {
    const Elf64_Shdr *s = &l->section[i];
    if (s->sh_type != SHT_SYMTAB) continue;
    l->symbol = (const Elf64_Sym *)(const void *)(l->at + s->sh_offset);
    l->n_symbols = (uint32_t)(s->sh_size / sizeof(Elf64_Sym));
    l->symbol_names = (const char *)l->at + l->section[s->sh_link].sh_offset;
  }
}

static void export_symbols(Link *l, Arena *a) {
  l->image->symbol = arena_array(a, LcSymbol, l->n_symbols);
  for (uint32_t i = 0; i < l->n_symbols; i++) {
    const Elf64_Sym *s = &l->symbol[i];
    if (ELF64_ST_BIND(s->st_info) != STB_GLOBAL || s->st_shndx == SHN_UNDEF) continue;
    l->image->symbol[l->image->n_symbols++] =
        (LcSymbol){arena_strdup(a, l->symbol_names + s->st_name),
                   l->place[s->st_shndx] + s->st_value};
  }
}

/* Writes the 32-bit little-endian distance from `at`. */
static bool put_distance32(uint8_t *image, uint64_t at, int64_t to) {
  int64_t distance = to - (int64_t)at;
  if (distance != (int32_t)distance) return false;
  uint32_t v = (uint32_t)(int32_t)distance;
  for (int i = 0; i < 4; i++) image[at + (uint64_t)i] = (uint8_t)(v >> 8 * i);
  return true;
}

static VlStatus relocate(Link *l, uint32_t section, const Elf64_Rela *r) {
  const Elf64_Sym *s = &l->symbol[ELF64_R_SYM(r->r_info)];
  const char *name = l->symbol_names + s->st_name;
  if (s->st_shndx == SHN_UNDEF || s->st_shndx >= l->head->e_shnum)
    return refuse(l, "a reference to something outside", name);
  uint32_t type = (uint32_t)ELF64_R_TYPE(r->r_info);
  if (l->head->e_machine != EM_X86_64 || (type != R_X86_64_PC32 && type != R_X86_64_PLT32))
    return refuse(l, "a reference that is not relative", name);
  int64_t to = (int64_t)(l->place[s->st_shndx] + s->st_value) + r->r_addend;
  if (!put_distance32(l->image->at, l->place[section] + r->r_offset, to))
    return refuse(l, "a reference too far away", name);
  return VLPC_OK;
}

static VlStatus relocate_all(Link *l) {
  for (uint32_t i = 0; i < l->head->e_shnum; i++) {
    const Elf64_Shdr *s = &l->section[i];
    if (s->sh_type != SHT_RELA || !is_code_or_data(l, s->sh_info)) continue;
    const Elf64_Rela *r = (const Elf64_Rela *)(const void *)(l->at + s->sh_offset);
    for (uint64_t j = 0; j < s->sh_size / sizeof *r; j++) VL_TRY(relocate(l, s->sh_info, &r[j]));
  }
  return VLPC_OK;
}

VlStatus lc_link(const uint8_t *object, size_t n, Arena *a, Diag *d, LcImage *out) {
  Link l = {
      .at = object, .head = (const Elf64_Ehdr *)(const void *)object, .diag = d, .image = out};
  *out = (LcImage){0};
  if (n < sizeof *l.head || memcmp(object, ELFMAG, SELFMAG) != 0)
    return refuse(&l, "not an ELF object", "");
  l.section = (const Elf64_Shdr *)(const void *)(object + l.head->e_shoff);
  l.names = (const char *)object + l.section[l.head->e_shstrndx].sh_offset;
  find_symbols(&l);
  VL_TRY(lay_out(&l, a));
  export_symbols(&l, a);
  return relocate_all(&l);
}

bool lc_symbol(const LcImage *image, const char *name, uint64_t *offset) {
  for (uint32_t i = 0; i < image->n_symbols; i++) {
    if (strcmp(image->symbol[i].name, name) != 0) continue;
    *offset = image->symbol[i].offset;
    return true;
  }
  return false;
}
