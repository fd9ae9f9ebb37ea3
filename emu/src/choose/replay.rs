pub struct ReplayChooser;
