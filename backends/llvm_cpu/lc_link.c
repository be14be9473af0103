/* SPDX-License-Identifier: Apache-2.0 */
/* lc_link.c - lays out ELF64 objects and resolves them against each other.
**
** Input is what LLVM wrote, in this process or into the private cache, so its structure is
** trusted; what it asks for is not: only read-only sections and references relative to
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
} Elf;

typedef struct {
  Elf *elf;
  uint32_t n;
  Arena *arena;
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

static const char *section_name(const Elf *o, uint32_t i) {
  return o->names + o->section[i].sh_name;
}

/* Unwind tables are allocated but never read: no code here unwinds. */
static bool is_code_or_data(const Elf *o, uint32_t i) {
  const Elf64_Shdr *s = &o->section[i];
  return (s->sh_flags & SHF_ALLOC) != 0 && s->sh_size != 0 &&
         strcmp(section_name(o, i), ".eh_frame") != 0;
}

/* ---- reading -------------------------------------------------------------- */

static void find_symbols(Elf *o) {
  for (uint32_t i = 0; i < o->head->e_shnum; i++) {
    const Elf64_Shdr *s = &o->section[i];
    if (s->sh_type != SHT_SYMTAB) continue;
    o->symbol = (const Elf64_Sym *)(const void *)(o->at + s->sh_offset);
    o->n_symbols = (uint32_t)(s->sh_size / sizeof(Elf64_Sym));
    o->symbol_names = (const char *)o->at + o->section[s->sh_link].sh_offset;
  }
}

static VlStatus read_object(Link *l, const LcObject *from, Elf *o) {
  *o = (Elf){.at = from->at, .head = (const Elf64_Ehdr *)(const void *)from->at};
  if (from->n < sizeof *o->head || memcmp(from->at, ELFMAG, SELFMAG) != 0)
    return refuse(l, "not an ELF object", "");
  o->section = (const Elf64_Shdr *)(const void *)(o->at + o->head->e_shoff);
  o->names = (const char *)o->at + o->section[o->head->e_shstrndx].sh_offset;
  o->place = arena_array(l->arena, uint64_t, o->head->e_shnum);
  find_symbols(o);
  return VLPC_OK;
}

/* ---- layout --------------------------------------------------------------- */

static VlStatus place_sections(Link *l, Elf *o) {
  for (uint32_t i = 0; i < o->head->e_shnum; i++) {
    const Elf64_Shdr *s = &o->section[i];
    if (!is_code_or_data(o, i)) continue;
    if ((s->sh_flags & SHF_WRITE) != 0 || s->sh_type != SHT_PROGBITS)
      return refuse(l, "a writable section", section_name(o, i));
    uint64_t least = s->sh_flags & SHF_EXECINSTR ? 64 : 1;
    o->place[i] = vl_align_up(l->image->n, VL_MAX(s->sh_addralign, least));
    l->image->n = o->place[i] + s->sh_size;
  }
  return VLPC_OK;
}

static void copy_sections(Link *l, const Elf *o) {
  for (uint32_t i = 0; i < o->head->e_shnum; i++)
    if (is_code_or_data(o, i))
      memcpy(l->image->at + o->place[i], o->at + o->section[i].sh_offset, o->section[i].sh_size);
}

static VlStatus lay_out(Link *l) {
  for (uint32_t i = 0; i < l->n; i++) VL_TRY(place_sections(l, &l->elf[i]));
  l->image->n = vl_align_up(l->image->n, 64);
  l->image->at = arena_array(l->arena, uint8_t, l->image->n);
  for (uint32_t i = 0; i < l->n; i++) copy_sections(l, &l->elf[i]);
  return VLPC_OK;
}

static bool is_exported(const Elf64_Sym *s) {
  return ELF64_ST_BIND(s->st_info) == STB_GLOBAL && s->st_shndx != SHN_UNDEF;
}

static void export_symbols(Link *l) {
  uint32_t most = 0;
  for (uint32_t i = 0; i < l->n; i++) most += l->elf[i].n_symbols;
  l->image->symbol = arena_array(l->arena, LcSymbol, most);
  for (uint32_t i = 0; i < l->n; i++) {
    const Elf *o = &l->elf[i];
    for (uint32_t k = 0; k < o->n_symbols; k++) {
      const Elf64_Sym *s = &o->symbol[k];
      if (!is_exported(s)) continue;
      l->image->symbol[l->image->n_symbols++] =
          (LcSymbol){arena_strdup(l->arena, o->symbol_names + s->st_name), i,
                     o->place[s->st_shndx] + s->st_value};
    }
  }
}

/* ---- references ----------------------------------------------------------- */

/* Writes the 32-bit little-endian distance from `at`. */
static bool put_distance32(uint8_t *image, uint64_t at, int64_t to) {
  int64_t distance = to - (int64_t)at;
  if (distance != (int32_t)distance) return false;
  uint32_t v = (uint32_t)(int32_t)distance;
  for (int i = 0; i < 4; i++) image[at + (uint64_t)i] = (uint8_t)(v >> 8 * i);
  return true;
}

/* A symbol that an object names: its own or, by its name, that of the first that exports it. */
static bool find_symbol(const Link *l, const Elf *o, const Elf64_Sym *s, uint64_t *offset) {
  const char *name = o->symbol_names + s->st_name;
  if (s->st_shndx != SHN_UNDEF) {
    if (s->st_shndx >= o->head->e_shnum) return false;
    *offset = o->place[s->st_shndx] + s->st_value;
    return true;
  }
  for (uint32_t i = 0; i < l->image->n_symbols; i++) {
    if (strcmp(l->image->symbol[i].name, name) != 0) continue;
    *offset = l->image->symbol[i].offset;
    return true;
  }
  return false;
}

static VlStatus relocate(Link *l, const Elf *o, uint32_t section, const Elf64_Rela *r) {
  const Elf64_Sym *s = &o->symbol[ELF64_R_SYM(r->r_info)];
  const char *name = o->symbol_names + s->st_name;
  uint64_t offset;
  if (!find_symbol(l, o, s, &offset)) return refuse(l, "a reference to something outside", name);
  uint32_t type = (uint32_t)ELF64_R_TYPE(r->r_info);
  if (o->head->e_machine != EM_X86_64 || (type != R_X86_64_PC32 && type != R_X86_64_PLT32))
    return refuse(l, "a reference that is not relative", name);
  int64_t to = (int64_t)offset + r->r_addend;
  if (!put_distance32(l->image->at, o->place[section] + r->r_offset, to))
    return refuse(l, "a reference too far away", name);
  return VLPC_OK;
}

static VlStatus relocate_all(Link *l, const Elf *o) {
  for (uint32_t i = 0; i < o->head->e_shnum; i++) {
    const Elf64_Shdr *s = &o->section[i];
    if (s->sh_type != SHT_RELA || !is_code_or_data(o, s->sh_info)) continue;
    const Elf64_Rela *r = (const Elf64_Rela *)(const void *)(o->at + s->sh_offset);
    for (uint64_t j = 0; j < s->sh_size / sizeof *r; j++)
      VL_TRY(relocate(l, o, s->sh_info, &r[j]));
  }
  return VLPC_OK;
}

VlStatus lc_link(const LcObject *objects, uint32_t n, Arena *a, Diag *d, LcImage *out) {
  Link l = {.elf = arena_array(a, Elf, n), .n = n, .arena = a, .diag = d, .image = out};
  *out = (LcImage){0};
  for (uint32_t i = 0; i < n; i++) VL_TRY(read_object(&l, &objects[i], &l.elf[i]));
  VL_TRY(lay_out(&l));
  export_symbols(&l);
  for (uint32_t i = 0; i < n; i++) VL_TRY(relocate_all(&l, &l.elf[i]));
  return VLPC_OK;
}

bool lc_symbol(const LcImage *image, uint32_t object, const char *name, uint64_t *offset) {
  for (uint32_t i = 0; i < image->n_symbols; i++) {
    const LcSymbol *s = &image->symbol[i];
    if (s->object != object || strcmp(s->name, name) != 0) continue;
    *offset = s->offset;
    return true;
  }
  return false;
}
