"""Function words: frequent words without a topic, by which `text.language` tells languages apart; about forty of each.

Some languages are here so that their texts are not taken for those of a neighbour: Slovak, for Czech.
"""

# ruff: noqa: RUF001  letters of other scripts that look like Latin ones are meant

from __future__ import annotations

# By script, as Unicode names it.
FUNCTION_WORDS: dict[str, dict[str, str]] = {
    "Latin": {
        "afrikaans": (
            "die het en van is nie in dat ek hy jy ons sy om te wat my vir met op was sal jou hulle dit hierdie "
            "daar kan so maar as aan deur uit baie wees geen toe moet haar"
        ),
        "albanian": (
            "të e në një është që i për me nuk nga dhe unë ka do kam kjo ky si më ai ajo ti ne ata mund duhet "
            "shumë por po kur çfarë jam tani gjithë janë këtë pa"
        ),
        "basque": (
            "da eta ez du bat dut dira zen nire hau hori zuen ere dago nik zer oso dute zuk bere nuen egin naiz "
            "zaude behar daiteke baina edo baino gara dugu zure gure den izan dela"
        ),
        "breton": (
            "ar an ur eo ket ha a e da en ma me te eus evit gant er din emañ zo ne c un o oa vo hag anezhañ int "
            "ganin he deomp dit az"
        ),
        "catalan": (
            "el la de que i a no és en un una els les per amb del al es va ha són aquest aquesta ho tot més com "
            "però molt seu jo tinc què li m si sense hi estava ser fer meu"
        ),
        "croatian": (
            "je i se u da na ne sam to što za s od bi su nije ali kao mi ti će smo si koji koja me ga gdje tko "
            "ovo samo ovdje bio biti prije sve imam ima jesi nisam uvijek"
        ),
        "czech": (
            "je se na v že to a s z do o si jsem ne by ale co jako jsou pro jeho ve k tak po být jsi mi této jak "
            "byl bylo byla už tom má které který aby než když jsme ještě nebo"
        ),
        "danish": (
            "det er jeg at en i og ikke til på den har af de for vi han med du som kan et var hun mig om så skal "
            "dig hvad der ham ville blev sig men min fra ved efter meget nogen være havde"
        ),
        "dutch": (
            "de het een en van ik is dat niet in te hij op je zijn was voor met die er aan ze heeft hebben om we "
            "dit naar mijn wat maar zo bij als ook kan uit door jij u hem nog worden deze werd"
        ),
        "english": (
            "the of and a to in is was that it for with as on are be this by at from not have has you i he she "
            "they we what which can do my his her him me but there would or an if were been"
        ),
        "esperanto": (
            "la de mi vi estas ne li ke en kaj al tio ni por ŝi ĝi ili havas kun oni kiel mia estis tre sed pri "
            "iu kiu kio povas via lia ĉu el kion pli ĉi tiu"
        ),
        "estonian": (
            "ma on ei ta ja see et sa mis oli me mu kui ära seda selle ning kes oma ka ole teda tema mida nad "
            "siin sul mul aga veel väga pole kas meie või tuleb olen enne minu nii"
        ),
        "finnish": (
            "on ei ja se että en hän minä olen oli me mitä sinä kun mutta minun tämä sen ole ovat he jos kuin "
            "hänen niin voi sitä minulla sinun minulle mikä tai myös joka oletko hyvin olla jo nyt tämän siitä"
        ),
        "french": (
            "le la les de des du un une et est que je il elle ne pas à en qui dans pour sur avec ce se au vous "
            "nous tu ils son sa ses cette mais par plus l d c qu n j"
        ),
        "galician": (
            "o a de que non é un unha do da no na os as e en eu para con máis se como moi ten el ela foi está iso "
            "pola polo ao me te che esta este teño hai meu súa eles sen pero xa"
        ),
        "german": (
            "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an aus er "
            "hat dass sie nach wird bei ich wir du war haben sind einen mir mich wie"
        ),
        "hungarian": (
            "a az és nem hogy egy van is ez meg már csak de mit volt ha én te ő mi kell ezt nincs mint el azt tom "
            "vagy lehet nagyon még vagyok fel le itt be ki mert minden aki ami"
        ),
        "icelandic": (
            "að er ég og ekki í það hann á þú hún til sem við með þetta var um þeir hef eru mér þig mig ert hvað "
            "fyrir en af þessi hafa þess svo vera frá hefur verið okkur"
        ),
        "indonesian": (
            "yang di dan itu tidak saya dia ini untuk dengan aku adalah kamu ke dari akan anda pada bisa ada kami "
            "mereka apa telah sudah karena oleh seperti dalam kita harus lebih juga sangat bagaimana sebuah"
        ),
        "irish": (
            "an tá a ar ní na is ag go sé sí mé sin bhí do le i tú níl leis agus seo aige agam de ach mo raibh "
            "atá siad gur chun dom féin air as sa faoi céad cad"
        ),
        "italian": (
            "di che è la il un a per in non una sono mi si lo ha le con i da ho come cosa del se io ma tu questo "
            "della al più nel molto lui suo sua era gli"
        ),
        "latin": (
            "est et in non ad quod ut cum ego sum qui quid sunt ex esse a me tu hoc sed de mihi si ab te erat "
            "quam id nec quae se tibi habet eius eam omnia ille hic"
        ),
        "latvian": (
            "ir un es nav viņš tu ka tas man vai mēs uz par no ar viņa tā kas bija tev ne esmu šis mani jūs ļoti "
            "pie viņi ko lai šo pēc savu kā bet to mums gan"
        ),
        "lithuanian": (
            "yra ir aš tai ne jis kad tu į ar man kaip su mes buvo ji iš per tik už tavo dėl mano jo tau labai "
            "nėra šis bet apie kas ką turi mums čia kai šią taip savo nuo"
        ),
        "malay": (
            "yang di dan itu tidak saya dia ini untuk dengan awak adalah ke dari akan pada boleh ada kami mereka "
            "apa telah sudah kerana oleh seperti dalam kita perlu lebih juga sangat bagaimana sebuah"
        ),
        "norwegian": (
            "det er jeg at en i og ikke til på den har av de for vi han med du som kan et var hun meg om så skal "
            "deg hva der ham ville ble seg men min fra ved etter mye noen være hadde ikkje eg ein ei dei"
        ),
        "polish": (
            "się w nie na jest to z do że a jak i mi tym co po o jestem ma tak od mam był za dla jego już są ale "
            "czy było być tego który przez tylko ci mnie pan tej u bardzo"
        ),
        "portuguese": (
            "o a de que não é um uma do da no na os as e em eu para com mais se ele ela foi está isso como você "
            "por ao me muito tem meu são seu sua nós este esta mas ser nos"
        ),
        "romanian": (
            "de a nu o este că la un să în și mai ce am pe cu e mi se din ai ea el eu are îmi te fost lui pentru "
            "sunt va i au fi iar acest această foarte dar"
        ),
        "slovak": (
            "je sa na v že to a s z do o si som ne by ale čo ako sú pre jeho vo k tak po byť mi tejto bol bolo "
            "bola už tom má ktoré ktorý aby než keď sme ešte alebo nie"
        ),
        "slovenian": (
            "je se v in na da ne sem to za s so bi ni ko si kaj z še pa kot ali mi ti tega o ga smo bil bila ki "
            "po lahko moj od jo zelo kje ima kako imam jaz nisem"
        ),
        "spanish": (
            "de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le ha me "
            "si sin sobre este ya él muy yo tu esta son"
        ),
        "swahili": (
            "ya na ni wa kwa za la katika kuwa mimi hii si yeye sana yangu hiyo huyu yake nini watu wewe hapa "
            "kama wake cha huo kila hakuna ana nina yako sasa lakini baada"
        ),
        "swedish": (
            "det är jag att en i och inte till på den har av de för vi han med du som kan ett var hon mig om så "
            "ska dig vad där honom skulle blev sig men min från vid efter mycket någon vara hade"
        ),
        "tagalog": (
            "ang ng sa na ako si mga siya hindi ni ay ko ka mo ba kung niya kay nang iyon ito may at naman nasa "
            "para kami sila natin ikaw wala akin din isang lang"
        ),
        "turkish": (
            "bir bu ve ne için o çok da de ben mi daha değil var ile olarak bana onu gibi en sen onun ki sana mu "
            "mü mı ama kadar beni her şey benim olan sonra istiyorum hiç yok senin ona kim gün nasıl siz bunu"
        ),
        "vietnamese": (
            "tôi là không có của và một đã anh cô ấy cho này bạn được người đi ở với các rất những đó trong đến "
            "mình thì sẽ nó để ta họ làm chúng phải cái biết gì"
        ),
        "welsh": (
            "yn y mae i a ar o yr wedi ddim dw ei fi oes roedd ydy gan bod am fy ti oedd eich hi ni chi fe nad "
            "dyma pan dydy eisiau beth ond hwn"
        ),
    },
    "Cyrillic": {
        "belarusian": (
            "я у не і на што гэта ён з ты мы да як яна так мне са мой вы яго але быў ёсць калі яны гэты гэтую для "
            "каб ад вельмі было толькі мяне ці таксама там каго"
        ),
        "bulgarian": (
            "е на да не се в и той това си за съм аз от ми са ще ли му с какво по бе ти така тя те много то ни "
            "как беше че без има когато"
        ),
        "macedonian": (
            "е на да не се во и тој ова си за сум јас од ми ќе ли му со што по беше ти така таа те многу тоа ги "
            "како дека го ја има нема ни"
        ),
        "mongolian": ("байна би энэ тэр нь юм чи вэ миний бол тэд биш бид байсан ч уу нэг гэж үү юу хүн надад их"),
        "russian": (
            "я в не и на что это он с ты мы у как она а так мне со вы его но был есть когда они этот для чтобы от "
            "очень было только меня ли мой то за по из же всё"
        ),
        "serbian": (
            "је и се у да на не сам то што за с од би су није али као ми ти ће смо си који која ме га шта где ово "
            "овде само био бити сте ли она он нисам"
        ),
        "tatar": (
            "мин ул бу белән бер дә иде ә түгел юк без дип бик син да бар минем һәм өчен гына нәрсә кеше соң инде "
            "шул аны"
        ),
        "ukrainian": (
            "я у в не і на що це він з ти ми та як вона так мені мій ви його але був є коли вони цей для щоб від "
            "дуже було тільки мене чи до й за по із"
        ),
    },
    "Arabic": {
        "arabic": (
            "في من على إلى أن لا هذا هو ما كان لم هل هذه عن هي أنا لقد كل قد يا مع كنت لي أنت ذلك إن بعد أي لك "
            "كانت ليس أو له التي الذي سوف هناك بين حتى"
        ),
        "persian": (
            "را به من در که از است این او با آن ما تو برای یک می ها بود خود هم باید چه کرد دارد آنها تا هیچ شما "
            "نمی شد خیلی اگر اما کند هر دارم چرا کنید"
        ),
        "urdu": (
            "ہے میں کے کی نہیں کا سے نے ہیں اور کو یہ وہ ایک پر تم ہوں اس بھی ہو تھا کیا جا گیا مجھے کر آپ ہی کہ میرے"
        ),
    },
    "Devanagari": {
        "hindi": (
            "है के में की का को से ने नहीं हैं मैं यह और पर वह एक हो था कि भी तुम इस क्या हूँ मुझे रहा उस कर वे "
            "अपने थी तो उसने हम मेरे आप ही जा बहुत साथ लिए"
        ),
        "marathi": (
            "आहे नाही मी तो ते आहेत ती तुम्ही आणि या हे का होता मला हा होती माझ्या काय केलं एक आम्ही होते आपण "
            "त्या तू की तर खूप पण माझा झालं तुला आहेस"
        ),
        "nepali": (
            "छ र हो को मा यो म छन् भएको गर्न लागि पनि तर हुन् गरेको एक थियो भने त्यो उनी तपाईं हामी गर्ने छैन "
            "मेरो छु उसले के होइन बाट ले तिमी"
        ),
    },
    "Greek": {
        "greek": (
            "ο η το οι τα του της των τον την και να δεν είναι για με σε που θα από στο στη στην στον ότι ένα μια "
            "ένας μου σου αυτό αυτή τι αν πολύ ήταν έχω έχει μας σας αλλά πως τους ή όταν ούτε"
        ),
    },
    "Hebrew": {
        "hebrew": (
            "את לא אני של זה הוא על היא לי כל אתה מה היה עם אם כי לך יש אין או גם הם אנחנו איך זאת שלי יותר רק אבל"
        ),
        "yiddish": (
            "איך איז די דער ער זי נישט האָט צו אַ מיט האָב אין דאָס און װאָס זיך דו װי פֿון ניט זײַן מיר אויף ס "
            "קען מיך אים זײַנען זײ האָבן וואָס וועט"
        ),
    },
}
# Of scripts that one language is written in, or nearly so.
LANGUAGE_OF_SCRIPT = {
    "Armenian": "armenian",
    "Tamil": "tamil",
    "Thai": "thai",
    "Lao": "lao",
    "Khmer": "khmer",
    "Myanmar": "burmese",
    "Hangul": "korean",
    "Kana": "japanese",
    "Cjk": "chinese",
    "Georgian": "georgian",
    "Bengali": "bengali",
    "Telugu": "telugu",
    "Malayalam": "malayalam",
    "Kannada": "kannada",
    "Gujarati": "gujarati",
    "Gurmukhi": "punjabi",
    "Sinhala": "sinhala",
    "Ethiopic": "amharic",
}
