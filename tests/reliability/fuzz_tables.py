"""Small valid tables of every kind that is read, each where its data set has it, and how the commands read them."""

import os

_CHEST = """patientid,offset,sex,age,finding,view,modality,date,folder,filename,license,clinical_notes
2,0,M,65,Pneumonia/Viral/COVID-19,PA,X-ray,"January 22, 2020",images,a.png,CC BY,"fever, ""dry"" cough"
2,3,M,65,"COVID-19, ARDS",AP Supine,X-ray,,images,b.png,,
4,,F,52,No Finding,PA,X-ray,,images,c.png,CC BY-NC-SA,ÄÖ
5,5,,,Pneumonia/Bacterial/Streptococcus,L,X-ray,,images,d.png,,
6,,F,20,SARS,Axial,CT,,images,e.png,,
"""
_RSNA = {
    "stage_2_detailed_class_info.csv": "patientId,class\na,Normal\nb,Lung Opacity\nb,Lung Opacity\n"
    "c,No Lung Opacity / Not Normal\n",
    "stage_2_train_labels.csv": "patientId,x,y,width,height,Target\na,,,,,0\nb,264.0,152.0,213.0,379.0,1\nc,,,,,0\n",
    "source-map.csv": "file,nih_patient,view,sex,age\nstage_2_train_images/a.dcm,12,PA,F,58\n",
}
_OWN = """path,label,patient_id,view,sex,age,offset,split,note
a.png,covid19,1,PA,F,30,2,train,x
b.png,normal,2,AP,M,41.5,,test,"a, b"
c.png,other:Nodule,2,,,,,val,
d.png,Bacterial Pneumonia,,PA,,0,1,train,=1+1
"""
_RECORDS = """path,label,patient_id,view,source,sex,age,offset,finding
a.png,covid19,ieee8023-2,PA,covid-chestxray-dataset,M,65.0,0.0,COVID-19
b.png,normal,ieee8023-4,AP,covid-chestxray-dataset,F,,,No Finding
"""
_SPLIT = """path,label,patient_id,source,split,group,fold,phase,monitored
a.png,covid19,1,x,train,1,1,0,True
b.png,normal,2,x,test,2,1,3,False
c.png,normal,3,x,val,3,2,8,True
d.png,covid19,,x,train,4,2,0,False
"""
_PREDICTIONS = """path,label,patient_id,source,view,sex,age,split,predicted,prob_covid19,prob_normal
a.png,covid19,1,x,PA,F,30.0,test,covid19,0.75,0.25
b.png,normal,2,x,AP,M,,test,normal,0.125,0.875
c.png,normal,2,x,,,41.0,val,covid19,0.5000001,0.4999999
d.png,,,x,,,,,normal,0.0,1.0
"""
_LISTS = "filename,class\n"


def _touched(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def _seeds(texts):
    return [(name, text.encode()) for name, text in texts.items()]


def chest(folder):
    """Return metadata.csv of covid-chestxray-dataset."""
    _touched(folder, *(f"images/{name}.png" for name in "abcdx"))
    return _seeds({"metadata.csv": _CHEST})


def read_chest(folder, _place):
    """Read the set in both of its readings."""
    from covidcxr.data import sources

    sources.read(folder, views=None, findings="rahimzadeh2020").counts()
    return sources.read(folder).counts()


def folds(folder):
    """Return rahimzadeh2020's lists, small, beside two of their images."""
    _touched(folder, "data/covid19/a.png", "data/normal/n1.png", "data/normal/n9.png")
    everything = _LISTS + "a.png,COVID-19\n" + "".join(f"n{number}.png,normal\n" for number in range(1, 10))
    seeds = {"lists/All.csv": everything}
    for fold in range(1, 6):
        for phase in range(1, 9):
            seeds[f"lists/fold{fold}/train{phase}.csv"] = _LISTS + f"a.png,COVID-19\nn{phase}.png,normal\n"
    for name, text in seeds.items():
        _touched(folder, name)
        (folder / name).write_text(text)
    return _seeds(
        {name: seeds[name] for name in ("lists/All.csv", "lists/fold1/train1.csv", "lists/fold1/train8.csv")}
    )


def read_folds(folder, _place):
    """Give images the authors' split, as rahimzadeh2020 does, and describe the lists, as `data inspect` does."""
    from covidcxr.data import sources
    from covidcxr.data.sources import rahimzadeh

    records = sources.read(folder / "data")
    lists = rahimzadeh.read_lists(folder / "lists")
    rahimzadeh.describe(folder / "lists", records)
    rahimzadeh.counts(lists, 1)
    return rahimzadeh.assign(records, lists, 1).counts()


def rsna(folder):
    """Return the challenge's two tables and the map of its sources."""
    _touched(folder, *(f"stage_2_train_images/{name}.dcm" for name in "abcd"))
    for name, text in _RSNA.items():
        (folder / name).write_text(text)
    return _seeds(_RSNA)


def read_source(folder, _place):
    """Read a folder as `--data` does."""
    from covidcxr.data import sources

    return sources.read(folder).counts()


def own(folder):
    """Return a user's own table of images."""
    _touched(folder, *(f"{name}.png" for name in "abcd"))
    return _seeds({"own.csv": _OWN})


def read_table(folder, place):
    """Read a table as `--data` does."""
    from covidcxr.data import sources

    return sources.read(folder / place).counts()


def records(folder):
    """Return records that we wrote."""
    return _seeds({"records.csv": _RECORDS})


def read_records(folder, place):
    """Read records."""
    from covidcxr.data import records as module

    return module.read_csv(folder / place).counts("label", "view")


def split(folder):
    """Return a split that we wrote, with folds and phases."""
    return _seeds(
        {"split.csv": _SPLIT, "plain.csv": "path,label,split\na.png,covid19,train\nb.png,normal,test\n"}
    )


def read_split(folder, place):
    """Read a split alone, and give it to the images it was drawn from."""
    from covidcxr.data import splits
    from covidcxr.data.records import Records

    found = splits.read(folder / place)
    splits.summary(found)
    splits.check(found)
    names = "abcd" if place == "split.csv" else "ab"
    rows = [{"path": f"{name}.png", "label": "normal"} for name in names]
    return splits.from_csv(Records.from_rows(rows, folder), folder / place).counts("split")


def predictions(folder):
    """Return predictions that we wrote, and some of another program."""
    other = "path,label,prob_a,prob_b,prob_c\n1.png,a,1,0,0\n2.png,c,0.2,0.3,0.5\n"
    return _seeds({"predictions.csv": _PREDICTIONS, "other.csv": other})


def read_predictions(folder, place):
    """Read predictions and what every evaluation asks of them."""
    from covidcxr.evaluation import predictions as module

    found = module.read_csv(folder / place)
    for split_name in sorted(set(found.table["split"]) - {""}):
        part = found.subset(split_name)
        _ = part.y_true, part.y_pred, part.patients, part.probabilities
    return found


def shipped(folder):
    """Return the index of shipped models."""
    from covidcxr.models.shipped import COLUMNS

    scores = {column: "0.5" for column in COLUMNS if "accuracy" in column or "area" in column}
    row = {"name": "a", "default": "yes", "classes": "covid19 normal", "images": "3", **scores}
    line = ",".join(row.get(column, "x") for column in COLUMNS)
    return _seeds({"index.csv": ",".join(COLUMNS) + f"\n{line}\n"})


def read_shipped(folder, _place):
    """List the shipped models as `covidcxr models list` does, and choose the default."""
    from covidcxr.models import shipped as module

    os.environ[module.FOLDER_VARIABLE] = str(folder)
    for one in module.listed():
        _ = one.classes, [one.score(name) for name in module.SCORES]
    return module.default()


def phantom(folder):
    """Return the parameters and the table of a phantom set."""
    from covidcxr.data import phantom as module

    module.write(folder, {"covid19": 2, "normal": 2}, size=64)
    return [(name, (folder / name).read_bytes()) for name in ("phantom.json", "phantom.csv")]


def read_phantom(folder, _place):
    """Read the phantom, and take it up again, as a run without data does."""
    from covidcxr.data import phantom as module
    from covidcxr.data import sources

    sources.read(folder).counts()
    return module.write(folder, {"covid19": 2, "normal": 2}, size=64)
