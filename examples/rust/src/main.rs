fn main(){ println!("{}", include_str!(concat!(env!("OUT_DIR"), "/plaudit.v1.rs")).len()); }
