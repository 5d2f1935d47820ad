"""The look of the emulator's page: two schemes from one set of names, readable at every width."""

STYLE = """
:root{color-scheme:light dark;
--ground:#f6f7f9;--sheet:#fff;--ink:#1b1f27;--soft:#596273;--line:#dfe3ea;--accent:#2456c7;
--good:#17663a;--good-ground:#dff3e6;--bad:#9c1f2e;--bad-ground:#fbe2e4;--wait:#7a4b00;--wait-ground:#fdeed3}
@media (prefers-color-scheme:dark){:root{--ground:#12151b;--sheet:#1a1e26;--ink:#e7eaf0;--soft:#a2abbb;--line:#2c323e;
--accent:#8fb1ff;--good:#8fdcae;--good-ground:#173527;--bad:#ff9aa5;--bad-ground:#43191f;--wait:#f3c577;
--wait-ground:#3d2c0d}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
header{background:var(--sheet);border-bottom:1px solid var(--line);padding:1.25rem clamp(1rem,4vw,3rem) 0}
h1{font-size:1.15rem;margin:0}header p{margin:.1rem 0 .9rem;color:var(--soft)}
h2{font-size:1.05rem;margin:1.75rem 0 .5rem}
nav{display:flex;gap:.25rem;overflow-x:auto}
nav a{padding:.5rem .85rem;color:var(--soft);text-decoration:none;border-bottom:2px solid transparent;
white-space:nowrap}
nav a:hover{color:var(--ink)}nav a[aria-current]{color:var(--accent);border-color:var(--accent);font-weight:600}
a{color:var(--accent)}a:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:3px}
main{padding:1.5rem clamp(1rem,4vw,3rem) 4rem;max-width:1400px;margin:0 auto}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.75rem;margin:0 0 1.5rem}
.tiles div,.facts{background:var(--sheet);border:1px solid var(--line);border-radius:10px;padding:.8rem 1rem}
dt{color:var(--soft);font-size:.85rem}dd{margin:0}.tiles dd{font-size:1.5rem;font-weight:600;
font-variant-numeric:tabular-nums}
.facts div{display:grid;grid-template-columns:8rem 1fr;gap:1rem;padding:.2rem 0}.facts dd{overflow-wrap:anywhere}
.scroll{overflow-x:auto;background:var(--sheet);border:1px solid var(--line);border-radius:10px;margin-bottom:1.5rem}
table{border-collapse:collapse;width:100%}caption{text-align:left;font-weight:600;padding:.85rem 1rem .5rem}
th,td{text-align:left;vertical-align:top;padding:.5rem 1rem;border-top:1px solid var(--line)}
th{color:var(--soft);font-size:.85rem;font-weight:600;white-space:nowrap}td{overflow-wrap:anywhere}
tbody tr:hover{background:color-mix(in srgb,var(--accent) 6%,transparent)}
small{color:var(--soft)}code{font:.9em ui-monospace,SFMono-Regular,Menlo,monospace}
.number{font-variant-numeric:tabular-nums;white-space:nowrap}
.badge{display:inline-block;padding:.05rem .5rem;border-radius:999px;font-variant-numeric:tabular-nums;font-size:.85rem;
font-weight:600}.good{color:var(--good);background:var(--good-ground)}.bad{color:var(--bad);background:var(--bad-ground)}
.wait{color:var(--wait);background:var(--wait-ground)}
mark{background:var(--wait-ground);color:var(--wait);border-radius:4px;padding:0 .35rem}
pre{background:var(--sheet);border:1px solid var(--line);border-radius:10px;padding:1rem;overflow-x:auto;
white-space:pre-wrap;overflow-wrap:anywhere}
.empty{color:var(--soft);padding:2rem 0}
"""
