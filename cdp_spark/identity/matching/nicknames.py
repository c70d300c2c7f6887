"""Which given names are forms of one another? A small table of common English, German and Spanish short forms."""

from __future__ import annotations

# root: short and other forms. A form under two roots (sam, alex, chris, pat) belongs to the first one named.
FORMS = """
abigail: abby gail abbie
alexander: alex alec sandy lex xander alejandro aleksander alexandr
alexandra: alexa sandra alejandra lexi
alfred: al fred alf alfie
amanda: mandy manda
andrew: andy drew andreas andres anders
angela: angie angel angelina
ann: anne anna annie nan nancy hannah ana
anthony: tony antony antonio anton toni
arthur: art artie
barbara: barb babs bobbie barbie
benjamin: ben benny benji
bernard: bernie bernhard
beverly: bev beverley
bradley: brad
catherine: cathy kate katie kathy cat katherine kathryn catharine kathleen katrina kit kitty karen katharina kay
charles: charlie chuck chas carl karl carlos charley
charlotte: lottie charlie
christina: chris tina christine chrissy kristina kristine kris christa
christopher: chris kit topher kristopher christoph christian
cynthia: cindy
daniel: dan danny
daniela: danielle dani
david: dave davy davey
deborah: deb debbie debra
dennis: denny denis
dominic: dom nick dominik
donald: don donny
dorothy: dot dottie dolly dorothea
douglas: doug
edward: ed eddie ted ned teddy eduard eduardo edwin
eleanor: ellie nell nora ella leonore elena helen helena lena
elizabeth: liz beth betty eliza lizzie lisa betsy elisabeth elsie libby liza bess bessie elise
emily: em emmy millie emilia
eric: erik rick erich
ernest: ernie ernst
eugene: gene
evelyn: eve evie
florence: flo flora
frances: fran fanny francesca franziska francisca
francis: frank frankie francisco franz franklin
frederick: fred freddie fritz friedrich frederic fredrick
gabriel: gabe
gabriela: gabby gabrielle
gerald: gerry jerry gerhard
gertrude: trudy gertie
gregory: greg gregg
harold: harry hal
henry: hank harry heinrich enrique heinz
isabella: bella isabel izzy isabelle
jacob: jake jakob
james: jim jimmy jamie jem jaime
janet: jan jane janey jean joan
jeffrey: jeff geoffrey geoff
jennifer: jen jenny jenn
jeremy: jerry jem
jessica: jess jessie
john: johnny jack jon johan hans juan jonny johann johnnie
jonathan: jon jonny nathan
joseph: joe joey jose josef jos
joshua: josh
josephine: jo josie
judith: judy jude
julia: julie jules juliet
kenneth: ken kenny
kimberly: kim kimberley
lawrence: larry lorenz laurence lars laurie
leonard: leo len lenny
leslie: les
lillian: lily lil lilly
louis: lou louie luis ludwig lewis
louise: lou luisa
madeline: maddie madeleine
margaret: maggie meg peggy peg marge margie greta rita margarete margarita daisy madge
martha: marty mattie
martin: marty martyn
mary: marie maria molly polly mae may miriam mia
matthew: matt matty mateo matthias
michael: mike mick mickey micky mitch miguel mikey
michelle: shelly shell
mildred: millie
mohammed: mohamed muhammad mohammad mo
nathaniel: nat nate nathan
nicholas: nick nicky nico klaus nicolas nikolaus
nicole: nicky nikki
oliver: ollie olli
pamela: pam
patricia: pat patty trish tricia patti
patrick: pat paddy rick
paul: pablo
peter: pete pedro piet
philip: phil pip phillip
phyllis: phil
raymond: ray ramon
rebecca: becky becca
richard: rick dick rich richie ricky ricardo dickie
robert: bob rob bobby bert robbie roberto robin
ronald: ron ronny ronnie
roberta: bobbie
rosemary: rose rosie
samantha: sam sammy
samuel: sam sammy
sarah: sara sally sadie
sebastian: seb basti
sharon: shari
sophia: sophie sofia
stephanie: steph stefanie
stephen: steve steven stevie stefan esteban
susan: sue susie suzanne susanne suzy susanna
theodore: ted theo teddy
theresa: terry tess teresa tessa
terence: terry
thomas: tom tommy tomas
timothy: tim timmy
valerie: val
veronica: ronnie vera
victor: vic viktor
victoria: vicky tori vicki
vincent: vince vinny
virginia: ginny ginger
walter: walt wally
wilhelmina: minnie mina
william: bill will billy willy liam wilhelm guillermo willie
zachary: zach zack zac
"""


def roots() -> dict[str, str]:
    """form -> root of every form and root in the table."""
    found: dict[str, str] = {}
    for line in FORMS.strip().splitlines():
        root, _, forms = line.partition(":")
        found[root] = root
        for form in forms.split():
            found.setdefault(form, root)
    return found
