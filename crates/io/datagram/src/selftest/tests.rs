mod cuts;
mod measures;
mod world;
