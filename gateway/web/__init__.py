"""The gateway's pages: what the technician's verbs do, and what the gateway sees, in a phone's browser, without JavaScript.

Who may: N nobody in particular, V viewer, T technician, O officer; R is N where the page listens on loopback only, else V.
Every POST is a form with a hidden field `form` (but for the one of /enter), from this page's own address (`Origin` or
`Referer`), and ends in 303 to a page that is read. `id` of a form is its name in the last column. Elements to hold on to:
`main#content`, `h1`, `[data-state]` on `#work` (running, done, cancelled, failed), `[data-step]`, `[data-verdict]`,
`[data-item][data-ok]`, `#ready[data-ready]`, `[data-cause]`,
`#trial[data-healthy]`, `#faults`, `#difference`, `#outcome[data-outcome]`. Forms of /settings: look, try, keep, back.

| path | GET | who | POST: fields (form's id) | who |
|---|---|---|---|---|
| `/` `/device/DEVICE` `/alert/ID` `/api/overview.json` | what there is | R | | |
| `/enter` | sign in | N | `password` `who` `to` (enter) | N |
| `/out` | | | (out) | V |
| `/passwords` | who may sign in | T | `role`=viewer,officer `what`=draw,withdraw (draw-ROLE, withdraw-ROLE) | T, O |
| `/why/DEVICE/POINT` | the walk, the one action, the id | T | (why) | T |
| `/causes` | the causes and their ids, as in the guide | T | | |
| `/check` | every point and its verdict | T | `point`=empty or DEVICE (check-all, check-DEVICE) | T |
| `/check/DEVICE/POINT` | one point: value, verdict, reasons | T | `what`=check,provoke,accept `reason` (as `what`) | T |
| `/scan` | who answers, what is wrong | T | `bus` `address` `every` `slow` (scan) | T |
| `/leave` | what is red still | T | `who` `outage`=0,10,60,300 `defer` (leave) | T |
| `/report.html` `/report.pdf` `/report.json` | the last signed report | T | | |
| `/replace/DEVICE` | what stood and stands | T | `serial` `old_serial` `address` `profile` `reason` `anyway` (replace) | T |
| `/claim` `/c/CODE` | claim by job file | N, T once claimed | `job` (a file) `code` `who` (claim) | as GET |
| `/alert/ID` | as above | R | `what`=confirm,refute `reason` (tell) | O |
| `/settings` `?version=NAME` | its text, its trial | T | `what`=look,try,keep,back `text` `base` `version` | T |
| `/cancel` | | | `work` `to` (cancel) | T |

What takes long is a job (`gateway.desk`): POST begins it, GET of the same path shows how far it is and what it found so far,
and asks the browser to come again (`Refresh` header) while it lasts.
"""
