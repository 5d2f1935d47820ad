"""The look of the emulator's page: two schemes from one set of names, readable at every width."""

STYLE = """
:root{color-scheme:light dark;
--ground:#f6f7f9;--sheet:#fff;--ink:#1b1f27;--soft:#596273;--line:#dfe3ea;--accent:#2456c7;
--good:#17663a;--good-ground:#dff3e6;--bad:#9c1f2e;--bad-ground:#fbe2e4;--wait:#7a4b00;--wait-ground:#fdeed3}
@media (prefers-color-scheme:dark){:root{--ground:#12151b;--sheet:#1a1e26;--ink:#e7eaf0;--soft:#a2abbb;--line:#2c323e;
--accent:#8fb1ff;--good:#8fdcae;--good-ground:#173527;--bad:#ff9aa5;--bad-ground:#43191f;--wait:#f3c577;
--wait-ground:#3d2c0d}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;
-webkit-text-size-adjust:100%}
header{background:var(--sheet);border-bottom:1px solid var(--line);padding:1.25rem clamp(1rem,4vw,3rem) 0}
h1{font-size:1.15rem;margin:0}header p{margin:.1rem 0 .7rem;color:var(--soft);overflow-wrap:anywhere}
h2{font-size:1.05rem;margin:1.5rem 0 .6rem;overflow-wrap:anywhere}h2 small{font-weight:400}
nav{display:flex;flex-wrap:wrap;gap:0 .25rem;margin:0 -.6rem}
nav a{padding:.5rem .6rem;color:var(--soft);text-decoration:none;border-bottom:2px solid transparent}
nav a:hover{color:var(--ink)}nav a[aria-current]{color:var(--accent);border-color:var(--accent);font-weight:600}
a{color:var(--accent)}a:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:3px}
main{padding:1.5rem clamp(1rem,4vw,3rem) 4rem;max-width:1400px;margin:0 auto}
.tiles{display:grid;grid-template-columns:repeat(5,1fr);gap:.75rem;margin:0 0 1.5rem}
.tiles div,.facts{background:var(--sheet);border:1px solid var(--line);border-radius:10px;padding:.8rem 1rem}
.facts{margin:0 0 1.5rem}
dt{color:var(--soft);font-size:.85rem}dd{margin:0}
.tiles dd{font-size:1.5rem;font-weight:600;font-variant-numeric:tabular-nums}
.facts div{display:grid;grid-template-columns:7rem 1fr;gap:.2rem 1rem;padding:.2rem 0}.facts dd{overflow-wrap:anywhere}
.links{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;margin:0 0 .9rem}
.links a[aria-current]{color:var(--ink);text-decoration:none;font-weight:600}
.sheet{background:var(--sheet);border:1px solid var(--line);border-radius:10px;margin-bottom:1.5rem;overflow:hidden}
table{border-collapse:collapse;width:100%}caption{text-align:left;font-weight:600;padding:.85rem 1rem .5rem}
th,td{text-align:left;vertical-align:top;padding:.5rem 1rem;border-top:1px solid var(--line)}
th{color:var(--soft);font-size:.85rem;font-weight:600;white-space:nowrap}td{overflow-wrap:break-word}
.wide{width:45%}td.wide{overflow-wrap:anywhere}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.when{font-variant-numeric:tabular-nums;white-space:nowrap}
td.id{white-space:nowrap}
tbody tr:hover{background:color-mix(in srgb,var(--accent) 6%,transparent)}
small,i{color:var(--soft)}code{font:.9em ui-monospace,SFMono-Regular,Menlo,monospace}
.badge{display:inline-block;padding:.05rem .5rem;border-radius:999px;font-variant-numeric:tabular-nums;font-size:.85rem;
font-weight:600;white-space:nowrap}
.good{color:var(--good);background:var(--good-ground)}.bad{color:var(--bad);background:var(--bad-ground)}
.wait,.plan{color:var(--wait);background:var(--wait-ground)}.plan{font-weight:400}
.plain{color:var(--soft);background:var(--line)}
pre{background:var(--sheet);border:1px solid var(--line);border-radius:10px;padding:1rem;margin:0 0 1.5rem;
white-space:pre-wrap;overflow-wrap:anywhere}
.empty{color:var(--soft);padding:1.5rem 0}
@media (max-width:60rem){td.id{white-space:normal;overflow-wrap:anywhere}}
@media (max-width:56rem){
nav{margin:0 -.4rem;gap:0}nav a{padding:.5rem .4rem}main{padding-top:1rem}
.tiles{grid-template-columns:repeat(6,1fr);gap:.5rem;margin-bottom:1rem}
.tiles div{grid-column:span 2;padding:.5rem .7rem}.tiles div:nth-child(n+4){grid-column:span 3}
.tiles dt{font-size:.78rem}.tiles dd{font-size:1.2rem}
.cards,.cards caption,.cards tbody{display:block}
.cards thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.cards tr{display:block;border-top:1px solid var(--line);padding:.6rem 1rem}
.cards td{display:grid;grid-template-columns:6.5rem 1fr;gap:0 .75rem;padding:.1rem 0;border:0;text-align:left;
width:auto;justify-items:start;overflow-wrap:anywhere;white-space:normal}
.cards td::before{content:attr(data-label);color:var(--soft);font-size:.85rem;line-height:1.75}
.cards td>*{grid-column:2}.cards td:empty{display:none}
.cards td.wide,.cards td.id{display:block;padding-bottom:.2rem}
.cards td.wide::before,.cards td.id::before{content:none}
.cards.log tr{display:grid;grid-template-columns:auto auto 1fr;gap:.1rem .75rem;align-items:baseline}
.cards.log td{display:block;padding:0}.cards.log td::before{content:none}
.cards.log td:nth-child(3){grid-row:2;grid-column:1/-1}.cards.log td:nth-child(4){text-align:right}
.cards.log td:nth-child(5){grid-column:1/-1;overflow-wrap:anywhere}
.facts div{grid-template-columns:5.5rem 1fr}}
"""
