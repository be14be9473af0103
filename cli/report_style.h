/* SPDX-License-Identifier: Apache-2.0 */
/* report_style.h - how the page of vlpc report looks, light and dark. */
#ifndef VLPC_CLI_REPORT_STYLE_H
#define VLPC_CLI_REPORT_STYLE_H

#define REPORT_STYLE \
  ":root{color-scheme:light dark;--ink:#1b2430;--soft:#5a6675;--line:#dbe1e8;--page:#f5f7f9;" \
  "--card:#fff;--right:#2264c7;--wrong:#c0452b;--on:#fff}\n" \
  "@media(prefers-color-scheme:dark){:root{--ink:#e5e9ef;--soft:#9ba7b6;--line:#2d3846;" \
  "--page:#10151c;--card:#19212b;--right:#6ba6ff;--wrong:#ff8d70;--on:#0d131a}}\n" \
  "*{box-sizing:border-box}\n" \
  "body{margin:0 auto;max-width:74rem;padding:2.5rem 1.25rem 4rem;background:var(--page);" \
  "color:var(--ink);font:16px/1.5 system-ui,sans-serif;font-variant-numeric:tabular-nums}\n" \
  "h1{font-size:1.9rem;line-height:1.2;margin:0;overflow-wrap:anywhere}\n" \
  "h2{font-size:1.25rem;margin:2.5rem 0 .8rem}h3{font-size:1rem;margin:0 0 .6rem}\n" \
  ".soft,figcaption,th{color:var(--soft);font-weight:400}\n" \
  ".cards,.grid2{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr))}\n" \
  ".grid2{grid-template-columns:repeat(auto-fit,minmax(min(26rem,100%),1fr));margin-top:1rem}\n" \
  ".card{background:var(--card);border:1px solid var(--line);border-radius:.6rem;" \
  "padding:1rem 1.1rem;margin:0;min-width:0}\n" \
  ".card b{display:block;font-size:1.5rem;font-weight:600}\n" \
  "svg{display:block;width:100%;height:auto}.square svg{max-width:27rem;margin:auto}\n" \
  ".tick{fill:var(--soft);font-size:12px}.grid,.axis{stroke:var(--line);fill:none}\n" \
  ".axis,.frame{stroke:var(--soft);fill:none}\n" \
  ".curve{fill:none;stroke:var(--right);stroke-width:2;stroke-linejoin:round;" \
  "stroke-linecap:round}\n" \
  ".spread{stroke:var(--right);stroke-width:1.4;opacity:.25}\n" \
  ".right,.bin{fill:var(--right)}.wrong{fill:var(--wrong)}.bin{fill-opacity:.35}\n" \
  ".mean{fill:var(--right)}.ideal{stroke:var(--soft);stroke-dasharray:5 4}\n" \
  ".count{fill:var(--ink);font-size:12px}.on{fill:var(--on)}\n" \
  ".scroll{overflow:auto;max-height:32rem}table{border-collapse:collapse;width:100%}\n" \
  "th,td{padding:.3rem .6rem;text-align:right;unicode-bidi:isolate;white-space:nowrap}\n" \
  "tr+tr>*{border-top:1px solid var(--line)}th:first-child,td:first-child{text-align:left;" \
  "white-space:normal;overflow-wrap:anywhere}\n" \
  ".bar{width:45%}.bar i{display:block;height:.7rem;border-radius:.2rem;" \
  "background:var(--right);min-width:1px}\n" \
  ".looks{display:grid;gap:.6rem;grid-template-columns:repeat(auto-fit,minmax(6rem,1fr))}\n" \
  ".looks figure{margin:0}.looks figcaption{font-size:.8rem}\n" \
  ".look{aspect-ratio:1;border-radius:.3rem;overflow:hidden;" \
  "background:var(--photo) 0 0/cover}.look img{display:block;width:100%;height:100%}\n" \
  "pre{overflow:auto;margin:.8rem 0 0;font-size:.85rem}summary{cursor:pointer}\n" \
  "@media print{body{max-width:none;padding:0}.scroll{max-height:none}}\n"

#endif
