"""Words the retailer is made of. Every name can be written in ISO-8859-1, as the CRM does."""

from __future__ import annotations

FEMALE = [
    "Zoë", "Chloë", "Anna", "Emma", "Olivia", "Amelia", "Isla", "Ava", "Mia", "Freya", "Lily", "Grace", "Sophie",
    "Evie", "Ella", "Charlotte", "Hannah", "Lucy", "Sarah", "Laura", "Rachel", "Rebecca", "Claire", "Helen", "Karen",
    "Susan", "Margaret", "Patricia", "Inés", "Noémie", "Renée", "Françoise", "Åsa", "Jördis", "Siân", "Priya", "Aisha",
    "Fatima", "Mei", "Nadia", "Ingrid", "Marta", "Beatriz", "Katarina", "Yvonne", "Joanna", "Gemma", "Heather", "Fiona",
    "Morag",
]  # fmt: skip
MALE = [
    "Søren", "Jürgen", "André", "José", "Björn", "Noah", "Oliver", "George", "Arthur", "Leo", "Harry", "Oscar",
    "Archie", "Henry", "Jack", "Thomas", "James", "William", "Daniel", "Matthew", "Andrew", "David", "Peter", "Paul",
    "Mark", "Stephen", "Kevin", "Brian", "Alan", "Neil", "Raj", "Mohammed", "Omar", "Wei", "Luca", "Mateo", "Jörg",
    "René", "Iñigo", "Kasper", "Callum", "Rhys", "Owen", "Ewan", "Angus", "Liam", "Patrick", "Declan", "Simon",
    "Martin",
]  # fmt: skip
LAST = [
    "Smith", "Jones", "Taylor", "Brown", "Williams", "Wilson", "Johnson", "Davies", "Robinson", "Wright", "Thompson",
    "Evans", "Walker", "White", "Roberts", "Green", "Hall", "Wood", "Jackson", "Clarke", "Müller", "García", "Sørensen",
    "Fernández", "Núñez", "Gonçalves", "Lefèvre", "Björk", "Østergård", "Schröder", "Weiß", "Patel", "Khan", "Singh",
    "Ali", "Ahmed", "Chen", "Wong", "O'Brien", "Murphy", "Kelly", "Campbell", "Stewart", "MacDonald", "Reid", "Murray",
    "Fraser", "Hughes", "Edwards", "Lewis", "Harris", "Cooper", "King", "Baker", "Turner", "Hill", "Ward", "Morris",
    "Clark", "Lee", "Bennett", "Price", "Cox", "Shaw", "Mitchell", "Grant", "Bell", "Ross", "Fox", "Hunt", "Palmer",
    "Mills", "Knight", "Barker", "Dixon", "Holmes", "Webb", "Stone", "Lane", "Pearce", "Marsh", "Bishop", "Frost",
]  # fmt: skip
STREETS = [
    "Mill Lane", "High Street", "Station Road", "Church Lane", "Victoria Road", "Green Lane", "Park Avenue",
    "Queen Street", "King's Road", "Manor Close", "Orchard Way", "Bridge Street", "North Row", "The Crescent",
    "Elm Grove", "Castle Hill", "Meadow View", "School Lane",
]  # fmt: skip
CITIES = (
    ("York", "YO"), ("London", "SW"), ("Leeds", "LS"), ("Manchester", "M"), ("Bristol", "BS"), ("Cardiff", "CF"),
    ("Edinburgh", "EH"), ("Glasgow", "G"), ("Belfast", "BT"), ("Norwich", "NR"), ("Exeter", "EX"), ("Oxford", "OX"),
)  # fmt: skip
DOMAINS = ("gmail.com", "outlook.com", "yahoo.co.uk", "icloud.com", "btinternet.com", "example.org", "mail.example.net")
CATEGORIES = ("garden", "kitchen", "bath", "bedroom", "lighting", "toys", "books", "sports", "pets", "office")
PRODUCTS_EACH = 24
AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/131.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Version/18.1 Mobile Safari/604.1",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/18.0 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
)
APP_AGENTS = ("HomeShop/5.2 (iOS 18.1)", "HomeShop/5.1 (Android 15)")
BOT_AGENTS = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "ExampleCrawler/1.0 (spider)",
)
CAMPAIGNS = (
    ("google", "search", "brand"), ("google", "search", "garden-season"), ("facebook", "social", "new-in"),
    ("newsletter", "email", "weekly"), ("partner", "affiliate", "vouchers"), ("adnet", "display", "retargeting"),
)  # fmt: skip
GOOD_TICKETS = (
    "Where is my parcel? The tracking page has not moved since yesterday.",
    "Could you tell me whether the lamp comes with a bulb?",
    "Thank you for the quick delivery, all is well.",
    "I would like to change the delivery address of my order.",
    "How do I use my loyalty points in the shop?",
)
BAD_TICKETS = (
    "This is the third time the order arrived broken. I am very disappointed.",
    "Terrible service, nobody answers the phone. I want my money back.",
    "Still no refund after four weeks. I will not order here again.",
    "The quality is awful and the return label does not work. Unacceptable!",
)
TOPICS_GOOD = ("delivery", "product question", "praise", "address change", "loyalty")
TOPICS_BAD = ("damaged", "service", "refund", "quality")
INTERESTS = ("gardening", "cooking", "interior", "family", "outdoor", "reading", "pets")
INCOME = ("low", "middle", "upper middle", "high")
PLAIN = str.maketrans("øØåÅßñÑæ", "oOaAsnNa")
