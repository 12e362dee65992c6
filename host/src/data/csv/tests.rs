//! Good tables, and every way for one to be wrong.

use super::*;

const COLUMNS: Columns<'_> = Columns { label: "label", split: "split", split_required: false, client: None };

#[track_caller]
fn check(text: &str, expected: &str) {
    let table = Table::read("x.csv", text.as_bytes(), &COLUMNS);
    let result = table.and_then(|table| table.into_dataset("x", &config::Data::default()));
    assert_eq!(result.unwrap_err().to_string(), format!("data file `x.csv`: {expected}"));
}

#[test]
fn wrong_files_are_refused_with_line_column_and_value() {
    check("", "line 1: there is no header; the first line must name the columns");
    check("1,2,0\n3,4,1\n", "line 1: there is no header; the first line must name the columns");
    check("a,a,label\n1,2,0\n", "line 1: column `a` occurs twice");
    check("label\n0\n1\n", "no column is left for the features");
    check("a,label\n", "the header is followed by no rows");
    check("a,label\n1,0\n2,1,3\n", "line 3: 3 fields, but the header has 2");
    check("a,label\n1,0\n2\n", "line 3: 1 fields, but the header has 2");
    check("a,label\n1,0\n?,1\n", "line 3, column `a`: `?` is not a number");
    check("a,label\n1,0\n,1\n", "line 3, column `a`: `` is missing; fill it in or drop the row");
    check("a,label\nNaN,0\n", "line 2, column `a`: `NaN` is not a finite number");
    check("a,label\n1e60,0\n", "line 2, column `a`: `1e60` is not a finite number");
    check("a,label\n1,\n", "line 2, column `label`: `` is missing");
    check("a,label\n1,0.5\n", "line 2, column `label`: `0.5` is not a class; labels are integers or words");
    check("a,label,split\n1,0,valid\n", "line 2, column `split`: `valid` is neither `train` nor `test`");
    check("a,label,split\n1,0,test\n2,1,test\n", "none of the 2 rows is a training row");
    check("a,label,split\n1,0,train\n2,1,train\n", "none of the 2 rows is a test row");
    check("a,label\n1,0\n", "none of the 1 rows is a training row");
}

#[test]
fn bytes_that_are_not_text_are_refused() {
    let error = Table::read("x.csv", &b"a,label\n1,0\n\xff,1\n"[..], &COLUMNS).err().unwrap();
    assert_eq!(error.to_string(), "data file `x.csv`: line 3: this is not UTF-8 text");
}

#[test]
fn one_class_alone_is_refused() {
    let table = Table::read("x.csv", &b"a,label\n1,0\n2,0\n"[..], &COLUMNS).unwrap();
    let error = table.into_dataset("x", &config::Data::default()).unwrap_err();
    assert_eq!(error.to_string(), "data `x`: 1 class, but classification needs at least 2");
}

#[test]
fn a_column_that_is_not_there_is_a_configuration_error_with_a_suggestion() {
    let columns = Columns { label: "labell", ..COLUMNS };
    let error = Table::read("x.csv", &b"a,label\n1,0\n"[..], &columns).err().unwrap();
    assert_eq!(
        error.to_string(),
        "config `data.label = \"labell\"`: data file `x.csv` has no such column; did you mean `label`?"
    );
    assert_eq!(crate::error::exit_code(&error), 3);
    let columns = Columns { split: "part", split_required: true, ..COLUMNS };
    assert!(Table::read("x.csv", &b"a,label\n1,0\n"[..], &columns).is_err());
    let columns = Columns { client: Some("label"), ..COLUMNS };
    assert!(Table::read("x.csv", &b"a,label\n1,0\n"[..], &columns).is_err());
}

#[test]
fn integer_labels_sort_by_value_and_words_as_text() {
    let table = Table::read("x.csv", &b"a,label\n1,10\n1,9\n1,10.0\n1,-1\n"[..], &COLUMNS).unwrap();
    assert_eq!(table.classes, ["-1", "9", "10"]);
    assert_eq!(table.labels, [2, 1, 2, 0]);
    let table = Table::read("x.csv", &b"\xef\xbb\xbfa, label\r\n1, yes\r\n1,no\r\n\r\n"[..], &COLUMNS).unwrap();
    assert_eq!((table.classes, table.labels), (vec!["no".to_string(), "yes".to_string()], vec![1, 0]));
}

#[test]
fn columns_are_scaled_by_the_training_rows() {
    let text = "a,b,label,split\n1,7,0,train\n3,7,1,train\n5,9,1,test\n";
    let load = |features| {
        let table = Table::read("x.csv", text.as_bytes(), &COLUMNS).unwrap();
        let data = table.into_dataset("x", &config::Data { features, ..Default::default() }).unwrap();
        match (data.train.features, data.test.features) {
            (Features::F32(train), Features::F32(test)) => (train, test),
            _ => panic!("CSV features are f32"),
        }
    };
    assert_eq!(load(FeatureScaling::None), (vec![1.0, 7.0, 3.0, 7.0], vec![5.0, 9.0]));
    assert_eq!(load(FeatureScaling::Scale), (vec![0.0, 0.0, 1.0, 0.0], vec![2.0, 2.0]));
    assert_eq!(load(FeatureScaling::Standardize), (vec![-1.0, 0.0, 1.0, 0.0], vec![3.0, 2.0]));
}

#[test]
fn a_file_without_split_column_holds_out_a_fixed_random_share() {
    let rows: String = (0..100).map(|i| format!("{i},{}\n", i % 2)).collect();
    let table = Table::read("x.csv", format!("a,label\n{rows}").as_bytes(), &COLUMNS).unwrap();
    let [train, test] = table.split(0.2).unwrap();
    assert_eq!((train.len(), test.len()), (80, 20));
    assert_eq!(table.split(0.2).unwrap(), [train, test.clone()]);
    assert!(test[0] < 20 && test[19] >= 80, "the rows come from the whole file: {test:?}");
    assert_eq!(table.split(0.001).unwrap()[1].len(), 1);
    assert_eq!(table.split(0.999).unwrap()[0].len(), 1);
    for wrong in [0.0, 1.0, f64::NAN, -0.1] {
        assert_eq!(crate::error::exit_code(&table.split(wrong).unwrap_err()), 3);
    }
}

#[test]
fn clients_with_training_rows_come_first() {
    let text = "a,label,split,who\n1,0,test,2\n2,1,train,10\n3,1,train,9\n4,0,test,9\n";
    let columns = Columns { client: Some("who"), ..COLUMNS };
    let table = Table::read("x.csv", text.as_bytes(), &columns).unwrap();
    let data = table.into_dataset("x", &config::Data::default()).unwrap();
    assert_eq!(data.client_names, ["9", "10", "2"]);
    assert_eq!((data.train.clients, data.test.clients), (Some(vec![1, 0]), Some(vec![2, 0])));
}
