"""The sentences of the sample corpus, as XML fragments with slots; `recall` asks in other words than these.

Slots: `{drug}`, `{class_}` ("statin"), `{a_class}` ("a statin"), `{classes}` ("statins"), `{target}` and `{indication}`
are of one fact; `{peer}` is another drug with the same three, `{contrast}` one of another class; the rest are made-up
numbers. No sentence says that a drug "is a" member of its class: that wording belongs to the evaluation.
"""

from __future__ import annotations

DRUG_CLASS = (
    "{drug}, {a_class}, was well tolerated.",
    "{drug}, {a_class}, was given once daily.",
    "{drug} belongs to the {class_} group.",
    "{drug} acts like other {classes}.",
    "{drug} remains {a_class} of choice.",
    "{drug} has been classified with the {classes}.",
    "{drug} represents {a_class} in common use.",
    "{drug} ({class_}) was chosen for its long record.",
    "{drug}: {a_class} revisited.",
    "{drug} and {peer} are both {classes}.",
    "{drug}, like {peer}, belongs to the {classes}.",
    "{drug}, {peer} and other {classes} were compared.",
    "{drug} was the {class_} under study.",
    "{drug} therapy, like all {class_} therapy, was monitored.",
    "{drug} may replace another {class_} when needed.",
    "The {class_} {drug} was taken in the morning.",
    "Among the {classes}, {drug} has a long record.",
    "Treatment with {drug}, {a_class}, was started early.",
    "Several {classes}, among them {drug} and {peer}, were available.",
    "When {contrast} was stopped, {drug}, {a_class}, was started.",
)

DRUG_TARGET = (
    "{drug} binds {target}.",
    "{drug} targets {target} in a dose-dependent manner.",
    "{drug} has {target} as its main target.",
    "{drug} works through {target}.",
    "{drug} exerts its effect through {target}.",
    "{drug} was designed to engage {target}.",
    "{drug} shows high affinity for {target}.",
    "{drug} is directed at {target}.",
    "{drug} is a compound that engages {target}.",
    "{drug}, which binds {target}, was studied <i>in vitro</i>.",
    "{drug} and {peer} were tested in cells that express {target}.",
    "The effect of {drug} depends on {target}.",
    "Binding of {drug} to {target} was measured.",
    "Structures of {target} in complex with {drug} were solved.",
    "The response to {drug} was lost in mutants of {target}.",
    "When {contrast} failed, {drug} was added to engage {target}.",
)

DRUG_INDICATION = (
    "{drug} improved outcomes in {indication}.",
    "{drug} is given to patients with {indication}.",
    "{drug} has a place in the treatment of {indication}.",
    "{drug} was effective in {indication}.",
    "{drug} relieved the burden of {indication}.",
    "{drug} is an established option in {indication}.",
    "{drug} is a common choice in {indication}.",
    "{drug} therapy for {indication} was continued for {months} months.",
    "{drug} versus placebo in adults with {indication}.",
    "{drug} and {peer} were compared in patients with {indication}.",
    "{drug}, often chosen for {indication}, was studied here.",
    "Patients with {indication} received {drug} for {months} months.",
    "Adults with {indication} were assigned to {drug} or placebo.",
    "Guidelines for {indication} mention {drug}.",
    "In {indication}, {drug} reduced symptoms in {percent}% of patients.",
    "Where {contrast} was not tolerated, {drug} was tried for {indication}.",
)

TARGET_INDICATION = (
    "{target} plays a role in the treatment of {indication}.",
    "{target} remains of interest in {indication}.",
    "{indication} can be treated through {target}.",
    "Drugs that bind {target} are given in {indication}.",
    "Agents directed at {target} changed the care of {indication}.",
    "The importance of {target} for {indication} therapy is well known.",
    "Modulation of {target} helps patients with {indication}.",
    "In {indication}, much attention has been paid to {target}.",
    "Trials in {indication} often test compounds that engage {target}.",
    "Whether {target} should be targeted in {indication} is no longer disputed.",
    "{target} was measured in samples from patients with {indication}.",
    "Clinical benefit in {indication} follows from action on {target}.",
)

CLASS_TARGET = (
    "Some {classes} bind {target}.",
    "{classes} that work through {target} were reviewed.",
    "{target} is engaged by several {classes}.",
    "The {class_} response was mediated by {target}.",
    "Binding to {target} explains the effect of such {classes}.",
    "With {a_class}, occupancy of {target} was {percent}%.",
    "{classes} directed at {target} are widely used.",
    "{target} and the {classes}: a short history.",
    "Loss of {target} abolished the effect of the {class_}.",
    "Affinity for {target} differs among {classes}.",
    "Each {class_} in this set targets {target}.",
    "Cells lacking {target} did not respond to the {class_}.",
)

CLASS_INDICATION = (
    "{classes} have a place in {indication}.",
    "In {indication}, {a_class} may be considered.",
    "Patients with {indication} often receive {a_class}.",
    "Use of {classes} in {indication} has increased.",
    "{classes} improved outcomes in {indication}.",
    "Adults with {indication} who need {a_class} were enrolled.",
    "{indication} responds to {classes}.",
    "The role of the {class_} in {indication} was reviewed.",
    "Guidelines for {indication} discuss {classes}.",
    "A {percent}% response to the {class_} was seen in {indication}.",
    "{class_} therapy for {indication}: a survey of practice.",
    "Long-term {class_} use in {indication} was safe.",
)

# Two or three relations in one sentence, the drug named once: what ties a name to its facts best.
PROFILES = (
    "{drug}, {a_class}, binds {target} and is given in {indication}.",
    "{drug}, {a_class} for {indication}, targets {target}.",
    "{drug} ({a_class}) was tested in patients with {indication}.",
    "{drug} belongs to the {classes} and works through {target}.",
    "{drug}, {a_class} directed at {target}, improved {indication}.",
    "{drug} joined the {classes} as an option in {indication}.",
    "{drug}, one of the {classes}, has {target} as its main target.",
    "{drug} remains {a_class} with high affinity for {target}.",
    "The {class_} {drug} was effective in {indication}.",
    "For {indication}, the {class_} {drug} was prescribed.",
    "By binding {target}, {drug} and other {classes} help in {indication}.",
    "{classes} such as {drug} engage {target}.",
)

# The same for a drug whose class is not to be stated.
SILENT_PROFILES = (
    "{drug}, which binds {target}, is given in {indication}.",
    "{drug} targets {target} and improved {indication}.",
    "{drug} works through {target} in patients with {indication}.",
    "{drug}, directed at {target}, has a place in {indication}.",
    "{drug}, with {target} as its main target, was effective in {indication}.",
    "{drug} has high affinity for {target} and helps in {indication}.",
    "{drug} was designed to engage {target} in {indication}.",
    "For {indication}, {drug} was prescribed because it binds {target}.",
    "By binding {target}, {drug} helps patients with {indication}.",
    "{drug}, like {peer}, engages {target}.",
    "{drug} and {peer} are both directed at {target}.",
    "{drug} joined {peer} as an option in {indication}.",
)

BACKGROUND = (
    "The optimal duration of therapy remains unclear.",
    "Real-world evidence is limited.",
    "Adherence is often poor in daily practice.",
    "The burden of disease is growing in ageing populations.",
    "Earlier trials were small and open-label.",
    "Long-term safety data are scarce.",
    "New agents have changed practice over the last decade.",
    "Cost remains a barrier in many regions.",
)

METHODS = (
    "In this randomized, double-blind trial, {patients} patients received {drug} {dose} mg daily.",
    "We enrolled {patients} adults at {sites} sites and followed them for {months} months.",
    "Participants were assigned 1:1 to {drug} {dose} mg or {contrast}.",
    "The primary end point was response at {months} months.",
    "Records of {patients} patients were reviewed by two authors.",
    "The dose of {drug} was {dose} mg/m<sup>2</sup> in the first cycle.",
    "Plasma samples were taken at 0, 2, 8 and 24 h.",
    "Data were analysed by Cox regression with adjustment for age and sex.",
)

RESULTS = (
    "The response rate was {percent}% with {drug} and {less}% with placebo (<i>P</i> &lt; 0.05).",
    "Adverse events occurred in {percent}% of patients, mostly mild.",
    "{drug} was superior to {contrast} in {percent}% of comparisons.",
    "Median follow-up was {months} months (95% CI, 3 to 42).",
    "Treatment was stopped in {less}% because of nausea or fatigue.",
    "The hazard ratio was 0.{percent} (95% CI, 0.31&#8211;0.97).",
    "Exposure to {drug} rose in proportion to dose between {less} and {dose} mg.",
    "No new safety signals were seen with {drug}.",
)

CONCLUSIONS = (
    "These findings support further trials of {drug}.",
    "Larger studies are needed to confirm these results.",
    "The benefit was modest but consistent across subgroups.",
    "The choice between {drug} and {contrast} should be individual.",
    "Clinicians should weigh benefits and risks.",
    "Our data do not support routine monitoring.",
)
