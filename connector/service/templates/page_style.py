"""How the operations page looks: one column, large enough to press, light or dark as the device is."""

STYLE = """
:root{color-scheme:light dark;--ground:#f6f7f7;--card:#fff;--ink:#1a2220;--quiet:#55615d;--line:#d8dedc;--main:#0f5c4d;
--bad:#a4262c;--wait:#8a5a00}
@media (prefers-color-scheme:dark){:root{--ground:#131917;--card:#1d2522;--ink:#e8eeec;--quiet:#a3b0ab;--line:#33403b;
--main:#5cc9b0;--bad:#ff9a9e;--wait:#f0c060}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:1rem/1.5 system-ui,sans-serif}
main{max-width:48rem;margin:0 auto;padding:1rem}
h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.25rem}h3{font-size:1rem;margin:0 0 .25rem;overflow-wrap:anywhere}
article{background:var(--card);border:1px solid var(--line);border-left:.3rem solid var(--main);border-radius:.4rem;
padding:.75rem 1rem;margin:0 0 .75rem}
article.failed{border-left-color:var(--bad)}article.canceled{border-left-color:var(--quiet)}
article.waiting,article.queued{border-left-color:var(--wait)}
.failed .badge,.notice{color:var(--bad)}.waiting .badge,.queued .badge{color:var(--wait)}.done .badge{color:var(--main)}
.notice{border:1px solid currentColor;border-radius:.4rem;padding:.5rem 1rem;margin:0 0 .75rem}
p{margin:.25rem 0}code{font-size:.85em;overflow-wrap:anywhere}.quiet{color:var(--quiet);margin-bottom:.75rem}
.badge{border:1px solid currentColor;border-radius:1rem;padding:0 .5rem;font-size:.85rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:0 1rem;margin:.5rem 0;color:var(--quiet);font-size:.9rem}
dd{margin:0;overflow-wrap:anywhere}progress{width:100%;accent-color:var(--main)}
button{font:inherit;min-height:2.75rem;padding:.25rem 1.25rem;border:1px solid var(--main);border-radius:.4rem;
background:none;color:var(--main);cursor:pointer}
"""
