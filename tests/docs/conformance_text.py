"""The sentences of docs/conformance.md; ``conformance_page`` puts the code's own tables between them.

A name in braces is one of those tables or numbers.
"""

OVERVIEW = """\
# DICOM Conformance Statement

lungnode {version}. Written from the code's own tables by `python -m tests.docs.conformance_page`; a test compares
page and code. In the order of the template of PS3.2 (2024). **Research use only, not for diagnosis; no medical
device.**

## 1 Overview

lungnode receives chest films and chest CT by C-STORE, analyses them, and sends reports, pictures of heat and
segmentations to the destinations of its settings. What it stores may be queried and retrieved. It prints nothing,
has no worklist, performs no procedure step, and reads and writes no interchange media. The same archive is served by
DICOMweb (QIDO-RS, WADO-RS, STOW-RS); as a client it may store at a STOW-RS service and ask a QIDO-RS service whose a
study is (section 4.6).

### Network services

{services}

### Transfer syntaxes of storage

{syntaxes}

### What lungnode writes

{objects}

## 2 Introduction

For integrators and operators who know DICOM. Two statements that fit do not replace a test with the two systems.
The words are those of PS3; section numbers without a part are of this page. References: PS3 2024, PS3.15 B.12, RFC
9325.
[configuration.md](configuration.md) has every setting, [operations.md](operations.md) the running of a node.

## 3 Implementation model

One application entity, title `{aet}` by default (`node.aet`). {processes} processes receive, each on every port;
others analyse and deliver:

    senders  --C-STORE-->  lungnode  --analysis-->  results  --C-STORE-->  destinations
    clients  --C-FIND, C-MOVE, C-GET-->  lungnode  --C-STORE-->  clients, move destinations
    lungnode  --C-ECHO, C-FIND-->  destinations          lungnode pull  --C-FIND, C-GET, C-MOVE-->  a peer

A C-STORE is answered with success once the object is durable: file and row are on the disk. A study is complete
when its associations are closed and nothing came for {quiet} s ({quiet_film} s for films alone), or after
{hard_limit} s. Each analysis has a report, also where nothing could be analysed. An object that comes later opens
the study again; the newer report names the older one as its predecessor.
"""

SERVICES = """\
## 4 Services

### 4.1 Verification

SCP and, towards destinations that did not answer, SCU. C-ECHO is answered with 0x0000.

### 4.2 Storage SCP

{storage_classes}

With `limits.sop_classes = "all"` every storage SOP class of the standard is taken ({every} of them), with the
transfer syntaxes of videos besides: {videos}. What is no film and no chest CT is stored and left out of the analysis.

Level 2 (full): every attribute is kept, private ones included, in the bytes and the transfer syntax received. No
element is coerced. Digital signatures are neither checked nor made. Files stay until the operator removes the node.
Objects made by this product (Instance Creator UID `{product_uid}`) are stored and never analysed.

| status | name | when |
|---|---|---|
| 0x0000 | Success | the object is durable; also for the same instance with the same bytes again |
{storage_statuses}

Error Comment (0000,0902) has the sentence, cut to 64 characters. A sender is to send again after 0xA700; the other
failures are for ever. Free disk below {min_free} bytes and objects above {max_instance} bytes are refused.

### 4.3 Storage SCU

One association to each destination at a time, destinations side by side; all results that are due go over it in the
order in which they were built. Proposed are the SOP class of each object with the transfer syntax of its file, and
Explicit and Implicit VR Little Endian where the file can be decoded. After a failure the object is tried again
after
{backoff} s, then for ever at the last interval ({attempts}). After {away_after} associations in a row without an answer
one C-ECHO at each of these intervals asks whether the peer is back.

| status | behaviour |
|---|---|
| 0x0000 | delivered |
| 0xB000 to 0xBFFF, 0x0001, 0x0107, 0x0116 | delivered, with the warning in the ledger |
| 0x0111 | delivered: our UIDs name the same bytes for ever |
| 0x0122, or abstract syntax rejected with reason 3 or 4 | not tried again, see below |
| any other, none, an abort | tried again |

A class that is not taken is remembered until `lungnode destinations forget`; a report is then sent as Comprehensive SR,
Enhanced SR or one page (Secondary Capture) instead.

{meanings}

### 4.4 Query/Retrieve SCP

{query_models}

Served where `query.serve` is true. No relational queries, no combined date-time matching, no fuzzy matching, no
enhanced multi-frame conversion. Person names match without regard to case and accents. Answers are in UTF-8
(`ISO_IR 192`) and have Retrieve AE Title and Instance Availability `ONLINE`. At most {max_matches} matches.

| level | key | VR | type | matched |
|---|---|---|---|---|
{query_keys}

C-FIND:

{find_statuses}

C-MOVE and C-GET over sources and results; a file goes out in the transfer syntax in which it is stored, and is
decompressed only where the peer takes none but uncompressed ones. A C-MOVE goes to destinations of results and to
those of `query.move_destinations`. One response for each sub-operation; C-CANCEL is heeded.

{retrieve_statuses}

### 4.5 Query/Retrieve SCU

`lungnode pull` asks a peer by Study Root C-FIND and fetches by C-GET, or by C-MOVE to the node's own port. Where
`priors.source` names a peer, the node does the same when a study is complete: C-FIND at study level with PatientID
(asking for IssuerOfPatientID, PatientName, PatientBirthDate, StudyDate and ModalitiesInStudy), at series level for
BodyPartExamined where that matters, then the studies that `[priors]` wants. Before a
delivery, where `objects.identity_check` is `c-find`, a Study Root C-FIND at study level asks with PatientID,
IssuerOfPatientID, PatientName and PatientBirthDate whose the study is there; a contradiction holds the results
back.

### 4.6 Web

{dicomweb}

As user agent: STOW-RS Store Instances to destinations that are written as a URL, in requests of at
most {stow_files} instances or {stow_bytes} bytes, `multipart/related` of `application/dicom` in the transfer syntax of
each file; delivered is what the answer names as stored, and what it refuses is tried again as in 4.3. QIDO-RS Search
for Studies (`objects.identity_check` holds a URL), JSON, with the four keys of 4.5. Server certificates are verified.

{commitment}### 4.8 Others

No modality worklist, MPPS, print, media storage, instance availability notification or relevant patient
information.
"""

DICOMWEB = """\
As origin server of the Studies Service (PS3.18 section 10), where `dicomweb.serve` is true, below `{prefix}` on the
HTTP port. OPTIONS of the root answers the capabilities as WADL. CORS by `dicomweb.cors_origins`. No UPS-RS, no
WADO-URI, no storage of zip files or XML. Who asks needs the right `view`, who stores `store`: by a token (Bearer), a
session, or name and password (Basic), over TLS or on this machine (access.md).

| path | GET answers |
|---|---|
{paths}

**Search**: the matching is that of C-FIND, across levels (relational). Keys are keywords or tags, of sequences with
a dot; lists of UIDs and code strings with commas; `limit`, `offset`, `includefield` (`all`, keywords, tags).
Required keys are all matched: {required}. Fuzzy, empty-value and multiple-value matching are answered by a Warning
299, and so is an attribute that is not matched. No match is 204. More than {max_matches} matches are answered by
206 with the first of them and a Warning; a `limit` within that is 200. A search that takes longer than 20 s is
answered 413.

**Retrieve**: by `Accept` or the query parameter `accept`. Objects in the stored transfer syntax where that is asked
for or `transfer-syntax=*` is; Explicit VR Little Endian by default, except for what is stored with losses and no
transfer syntax is named; also {encoders}. Implicit VR and Big Endian never leave (PS3.18 section 8.7.3). Decodable
are:
{decodable}.
Colours that are decoded come out as RGB. What cannot be made is 406. Frames of these media types where they are stored
so:

{media}

Pixel data and binary values above {inline} bytes are bulk data. Instances, frames and bulk data have an ETag and
never change; studies, series and metadata are to be asked for again. `rendered` knows `window`, `viewport`,
`annotation` (patient, technique) and `quality`; `iccprofile` is ignored. Of several frames `rendered` is the middle
one, or all of them as GIF. Presentation states are not applied.

**Store**: POST to /studies or /studies/(study), `multipart/related` of `application/dicom`, or of
`application/dicom+json` with bulk data in parts named by Content-Location (one frame where it is compressed). SOP
classes, transfer syntaxes, addresses and limits are those of C-STORE. 200: all stored, 202: some, 409: none, 503:
none for want of room (try again), 413: above {most_upload} bytes, 408: silent for {silent} s, 400: no multipart
message, 415: another type. An instance of another study than that of the path is 0xA900; the same instance with the
same bytes again is a success.

| Failure Reason | error | when |
|---|---|---|
{reasons}
"""

COMMITMENT = """\
### 4.7 Storage Commitment Push Model

SCP for what is stored here (`commitment.serve`): an instance is committed when its row is there and its file still
has the digest of receipt. The N-EVENT-REPORT goes over the association of the request while that is open, else over
a new one to the requester, with role selection. SCU towards destinations whose table says `commit = true`: a result
counts as delivered once it is committed, is asked for again after {ask_again} s, and is sent again where the
destination says that it has not got it. Committed objects are kept for as long as the node is, unless the operator
sets `retention.keep_committed = false`; then as long as `[retention]` keeps them. Nothing else removes anything.

{statuses}

"""

COMMUNICATION = """\
## 5 Configuration

AE title, ports, peers and limits are settings ([configuration.md](configuration.md)); none is changed by a peer.

| setting | default |
|---|---|
{parameters}

Peers are known by AE title, host and port, written `AET@HOST:PORT`; host names are resolved for each association.
Ports: DICOM {dicom_port}, DICOM over TLS {tls_port} where there is a certificate, HTTP (DICOMweb, pages, API, health
and metrics) {http_port} on `{http_host}`.

## 6 Network and media communication details

| property | as acceptor | as initiator |
|---|---|---|
| application context | 1.2.840.10008.3.1.1.1 | 1.2.840.10008.3.1.1.1 |
| Implementation Class UID | {implementation_uid} | the same |
| Implementation Version Name | {implementation_version} | the same |
| associations at once | {max_associations} in all; by AE title: [access] | one to each destination, C-MOVE and pull |
| maximum PDU length received | {max_pdu} | {scu_pdu} |
| outstanding operations | 1: no asynchronous operations window | 1 |
| user identity | not evaluated | not sent |
| extended negotiation | none | none |
| role selection | Storage SCP role of a C-GET requester | `lungnode pull` by C-GET; SCP role of a commitment report |
| presentation contexts | as proposed | at most 128; more classes and syntaxes mean more associations |

An acceptor takes of each proposed context the first transfer syntax, in the order of the peer, that it supports.
The file meta information of what lungnode writes names Implementation Class UID {product_uid}.

A-ASSOCIATE-RJ:

| result, source, reason | when |
|---|---|
{rejections}

TCP/IP, IPv4 and IPv6. Media interchange: none.

### 6.1 Character sets

Received: every Defined Term of PS3.3 C.12.1.1.2; what cannot be decoded is shown by a replacement sign, and the
report says so of the patient's identifiers. Written: `ISO_IR 192` (UTF-8), or with `objects.character_set =
"source"` that of the study, one of:

{character_sets}

A set of the study that cannot carry the text, or is none of these, gives way to UTF-8 with a sentence in the story.
C-FIND identifiers are read in their own set and answered in UTF-8.

## 7 Security

**TLS**: profile BCP 195 RFC 8996, RFC 9325 (PS3.15 B.12): TLS 1.3, and TLS 1.2 with `{ciphers}`; peers that connect
show a certificate by default, destinations always; certificates are read anew when their files change. Without
`[tls]` settings nothing is encrypted.

**Who may connect**: calling AE titles (`receive.calling_aets`), called AE title, addresses, and limits of each AE
title.

**Audit**: an audit trail with a hash chain, and its rows as messages of the Audit Trail Message Format Profile (PS3.15
A.5) by syslog over TLS or UDP (A.6, A.7) where `[audit]` names a collector; audit.md has the events, and where messages
differ. Log lines are JSON events on standard error with association, UIDs, AE titles and addresses, never names,
identifiers or data sets. Metrics count rejections by reason.

**De-identification**: none. Results carry the patient of the source.
"""

ANNEXES = """\
## Annex A: what lungnode writes

All objects are derived from the same bytes to the same bytes: UIDs are 2.25 UIDs made of their content, so that a
rerun is no new object. Explicit VR Little Endian, or as the table of section 1 says. Nothing is a Standard
Extended, Specialized or Private SOP class; there are no private attributes, no private transfer syntaxes.

### A.1 Every object

| module | value |
|---|---|
| Patient, Study | copied from the source: {copied} |
| what of these is no legal DICOM | mended or left out; the report says of which identifier |
| Series Number | {series_base} and above (`results.series_number_base`) |
| Instance Creator UID | {product_uid} |
| Manufacturer, Model, Serial Number, Software Versions | settings of [results], the version |
| Contributing Equipment | Processing Equipment, with a Device UID of the models |
| Content Qualification | RESEARCH |
| Series, Content, Instance Creation date and time | of the analysis, in the zone of source, settings, or UTC |
| Timezone Offset From UTC | of the source, else `results.timezone`, else absent |

### A.2 Reports: Comprehensive 3D SR

TID 1500 "Measurement Report", Completion Flag COMPLETE, Verification Flag UNVERIFIED. Rows used: TID 1204 language,
TID 1002 and 1004 device observer, procedure reported (Plain chest X-ray, CT of chest), TID 1501 measurement groups
(one for each class of each system: probability, threshold, present or absent; one for biomarkers; one for predicted
values), TID 1410 planar regions (one for each focus: outline, centre), TID 4019 algorithm identification with
system, version and weights digest. Comments say what was left out and why. CAD Processing and Findings Summary says
whether all systems answered. "AI regions" is a second document with the foci alone. Its simpler forms
(Comprehensive SR, Enhanced SR) hold the same content without what those classes do not allow.

### A.3 Pictures: Secondary Capture

Conversion Type WSD for heat over the source image, SYN for the page of a report; RGB; words on the picture never
identify; Source Image Sequence names the images. The heat over a whole CT is one Multi-frame True Color Secondary
Capture with a Plane Position for each frame, JPEG-LS lossless. The page is JPEG-LS lossless too. With
`objects.jpeg` pictures are JPEG Baseline with Lossy Image Compression 01.

### A.4 Segmentation

BINARY; lungs by side, heart on films, foci with the tracking identifiers of the reports. Lungs and heart: category
Anatomical Structure; foci: category Spatial and Relational Concept, type Visual explanation, since they are no
outline of disease. CT: in the frame of reference of the series; films: by image reference alone.

### A.5 Presentation state, key objects, parametric map (by switch)

Grayscale Softcopy Presentation State: lung contours and foci in graphic layers over the image as it looks without.
Key Object Selection, TID 2010, title "Of Interest". Parametric Map: float32 heat from 0 to 1 on CT key slices.

### A.6 What lungnode reads

Needed of a received object: Study, Series and SOP Instance UID and SOP Class UID, which must be those of the
C-STORE command. All else may be absent; what is missing for an analysis is said in the report. Rules of selection:
[selection.md](selection.md).

Of illegal values of patient and study the received object keeps what it has; results carry them mended or not at
all. A name that had to be shortened, and an identifier that had to be changed, ends with `~` and eight hexadecimal
digits of what was received, and the report says so. A UID with leading zeros stays as it is.

## Annex B: coded terminology

Standard codes of DCM, SCT and UCUM, and the private scheme `{private}` (named in Coding Scheme Identification of
every report). Concepts of the reports; classes and quantities of models are in the cards of
[models.md](models.md), with codes of the same scheme where the standard has none.

| value | scheme | meaning |
|---|---|---|
{concepts}

Classes and quantities of the models that ship:

| value | scheme | meaning | systems |
|---|---|---|---|
{model_concepts}
"""
